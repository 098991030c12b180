//! What may be granted at all, and to whom: the access policy and the guard on subjects. Values only; where the file lies is the controller's business.

use serde::Deserialize;
use unicode_normalization::UnicodeNormalization;

use super::shard::SubjectKind;
use crate::api::mapping::{RoleKind, RoleRef};

/// The longest name of a subject, in bytes.
pub const SUBJECT_MAX: usize = 1024;
/// The most entries in one list of the policy.
const ENTRIES_MAX: usize = 4096;

/// Why something is not granted: a reason for machines, and what is wrong and allowed for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// PascalCase, for conditions.
    pub reason: &'static str,
    /// What is refused, and what is allowed instead.
    pub message: String,
}

impl Refusal {
    /// A refusal of the given parts.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

/// The lists that the chart renders from `accessPolicy`. What is not listed is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessPolicy {
    /// ClusterRoles that may be granted in a namespace.
    #[serde(default)]
    pub cluster_roles: Vec<String>,
    /// Roles that may be granted in their own namespace.
    #[serde(default)]
    pub roles: Vec<String>,
    /// ClusterRoles that may be granted in the whole cluster.
    #[serde(default)]
    pub cluster_wide_roles: Vec<String>,
    /// Usernames begin with one of these; `""` allows any.
    #[serde(default)]
    pub username_prefixes: Vec<String>,
    /// The same for groups.
    #[serde(default)]
    pub group_prefixes: Vec<String>,
    /// Pod Security levels that a namespace may be labelled with when it is made; empty: none of these labels.
    #[serde(default)]
    pub pod_security_levels: Vec<String>,
    /// Namespaces in which nothing is granted: a name, or a beginning with `*` after it. Not optional: a policy without it would protect nothing.
    pub protected_namespaces: Vec<String>,
}

/// A policy file that cannot be used. Nothing is granted then, and nothing removed because of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access policy cannot be used: {0}")]
pub struct PolicyError(pub String);

impl AccessPolicy {
    /// Reads the file's text. An unknown key, a glob with `*` elsewhere than at its end, or a prefix that begins with `system:` is an error.
    pub fn parse(yaml: &str) -> Result<Self, PolicyError> {
        let policy: Self = serde_saphyr::from_str(yaml).map_err(|e| PolicyError(e.to_string()))?;
        for (key, list) in [
            ("clusterRoles", &policy.cluster_roles),
            ("roles", &policy.roles),
            ("clusterWideRoles", &policy.cluster_wide_roles),
            ("usernamePrefixes", &policy.username_prefixes),
            ("groupPrefixes", &policy.group_prefixes),
            ("podSecurityLevels", &policy.pod_security_levels),
            ("protectedNamespaces", &policy.protected_namespaces),
        ] {
            if list.len() > ENTRIES_MAX {
                return Err(PolicyError(format!("{key} has {} entries; at most {ENTRIES_MAX}", list.len())));
            }
        }
        for prefix in policy.username_prefixes.iter().chain(&policy.group_prefixes) {
            if is_system(prefix) {
                return Err(PolicyError(format!(
                    "the prefix {prefix:?} is Kubernetes' own; `system:` is never granted to"
                )));
            }
        }
        for glob in &policy.protected_namespaces {
            if glob.is_empty() || glob[..glob.len().saturating_sub(1)].contains('*') {
                return Err(PolicyError(format!(
                    "protectedNamespaces: {glob:?} is neither a name nor a beginning with `*` after it"
                )));
            }
        }
        Ok(policy)
    }

    /// Whether the role may be granted in a namespace.
    pub fn role(&self, kind: RoleKind, name: &str) -> Result<(), Refusal> {
        let (list, key) = match kind {
            RoleKind::ClusterRole => (&self.cluster_roles, "accessPolicy.clusterRoles"),
            RoleKind::Role => (&self.roles, "accessPolicy.roles"),
        };
        if list.iter().any(|allowed| allowed == name) {
            return Ok(());
        }
        let message = format!("{name:?} is not in {key} (Helm value); allowed: {}", listed(list));
        Err(Refusal::new("RoleNotAllowed", message))
    }

    /// Whether the role may be granted in the whole cluster.
    pub fn cluster_wide(&self, role: &RoleRef) -> Result<(), Refusal> {
        if role.kind == RoleKind::ClusterRole && self.cluster_wide_roles.contains(&role.name) {
            return Ok(());
        }
        let message = format!(
            "{:?} is not in accessPolicy.clusterWideRoles (Helm value); allowed: {}",
            role.name,
            listed(&self.cluster_wide_roles)
        );
        Err(Refusal::new("RoleNotAllowed", message))
    }

    /// Whether the role may be granted in that namespace; the whole cluster is the namespace without a name.
    pub fn grant(&self, role: &RoleRef, namespace: &str) -> Result<(), Refusal> {
        match namespace {
            "" => self.cluster_wide(role),
            _ => self.role(role.kind, &role.name).and_then(|()| self.namespace(namespace)),
        }
    }

    /// Whether a namespace may be made with that label; `value`: none, if it is not known yet.
    pub fn label(&self, key: &str, value: Option<&str>) -> Result<(), Refusal> {
        let Some(mode) = key.strip_prefix("pod-security.kubernetes.io/") else {
            return Ok(());
        };
        let allowed = match mode {
            "enforce" | "audit" | "warn" => value.is_some_and(|value| self.pod_security_levels.iter().any(|level| level == value)),
            "enforce-version" | "audit-version" | "warn-version" => value.is_some() && !self.pod_security_levels.is_empty(),
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        let message = format!(
            "the label {key} is given to a namespace only with a level of accessPolicy.podSecurityLevels (Helm value), and not by an expression; allowed: {}",
            listed(&self.pod_security_levels)
        );
        Err(Refusal::new("LabelNotAllowed", message))
    }

    /// Whether a user of that name may be granted anything.
    pub fn subject(&self, username: &str) -> Result<(), Refusal> {
        subject(username)?;
        // a name that is nothing but the prefix is the name of nobody
        if self
            .username_prefixes
            .iter()
            .any(|prefix| username.len() > prefix.len() && username.starts_with(prefix.as_str()))
        {
            return Ok(());
        }
        let message = format!(
            "a username does not begin with one of accessPolicy.usernamePrefixes (Helm value); allowed: {}; the source's spec.subject.username must yield the name with the prefix that the API server adds",
            quoted(&self.username_prefixes)
        );
        Err(Refusal::new("UsernameNotAllowed", message))
    }

    /// Whether a group of that name may be granted anything.
    pub fn group(&self, name: &str) -> Result<(), Refusal> {
        subject(name)?;
        let begins = |prefix: &String| name.len() > prefix.len() && name.starts_with(prefix.as_str());
        if self.group_prefixes.iter().any(begins) {
            return Ok(());
        }
        let message = format!(
            "the name of a group does not begin with one of accessPolicy.groupPrefixes (Helm value); allowed: {}; the source's spec.subject.group must yield the name with the prefix that the API server adds",
            quoted(&self.group_prefixes)
        );
        Err(Refusal::new("GroupNotAllowed", message))
    }

    /// Whether a subject of that kind and name may be granted anything.
    pub fn named(&self, kind: SubjectKind, name: &str) -> Result<(), Refusal> {
        match kind {
            SubjectKind::User => self.subject(name),
            SubjectKind::Group => self.group(name),
        }
    }

    /// Whether anything may be granted in the namespace.
    pub fn namespace(&self, name: &str) -> Result<(), Refusal> {
        let protects = |glob: &&String| match glob.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == glob.as_str(),
        };
        let Some(glob) = self.protected_namespaces.iter().find(protects) else {
            return Ok(());
        };
        let message = format!(
            "{name:?} is protected by {glob:?} in accessPolicy.protectedNamespaces (Helm value); grant in a namespace that is not: protected are {}",
            listed(&self.protected_namespaces)
        );
        Err(Refusal::new("NamespaceProtected", message))
    }
}

/// What no policy can allow: no empty subject, none longer than [`SUBJECT_MAX`], no control characters, and none that is or could be read as one of
/// Kubernetes' own (`system:`), service accounts among them: RBAC compares a User subject with their names byte for byte.
pub fn subject(name: &str) -> Result<(), Refusal> {
    let refused = |what: &str| Err(Refusal::new("UsernameNotAllowed", format!("{what}; it is never granted anything")));
    if name.trim().is_empty() {
        return refused("a username is empty");
    }
    if name.len() > SUBJECT_MAX {
        return refused("a username is longer than 1024 bytes");
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return refused("a username holds a control character");
    }
    if is_system(name) {
        return refused("a username begins with \"system:\", which is Kubernetes' own");
    }
    Ok(())
}

/// Whether the name begins with `system:`, as it is or after whatever somebody could do to it on the way: normalization, trimming, removal of what
/// cannot be seen, case folding, percent and JSON escapes.
fn is_system(name: &str) -> bool {
    if name.starts_with("system:") {
        return true;
    }
    // most names are plain, and this is asked of each again and again
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'%' | b'\\');
    if name.bytes().all(plain) {
        return name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("system:"));
    }
    let mut form = name.to_owned();
    // each round undoes one layer; a name wrapped deeper than that is nobody's name, but no API server unwraps it either
    for _ in 0..4 {
        let next = skeleton(&unescaped(&form));
        if next.starts_with("system:") {
            return true;
        }
        if next == form {
            return false;
        }
        form = next;
    }
    false
}

fn skeleton(name: &str) -> String {
    let visible: String = name
        .nfkc()
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .flat_map(char::to_lowercase)
        .collect();
    let folded: String = visible.nfkc().filter(|c| !is_invisible(*c)).collect();
    folded.trim().replace('ı', "i").replace(": ", ":").replace(" :", ":")
}

/// Unicode's Default_Ignorable_Code_Point, and the combining marks' joiner and the like.
pub fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// `%73` and `\u0073` as what they stand for; what is no escape stays.
fn unescaped(name: &str) -> String {
    if !name.contains(['%', '\\']) {
        return name.to_owned();
    }
    let bytes = name.as_bytes();
    let hex = |from: usize, len: usize| {
        let digits = name.get(from..from + len)?;
        digits
            .bytes()
            .all(|b| b.is_ascii_hexdigit())
            .then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let (mut out, mut i) = (Vec::with_capacity(bytes.len()), 0);
    while i < bytes.len() {
        let (code, len) = match bytes[i] {
            b'%' => (hex(i + 1, 2), 3),
            b'\\' if bytes.get(i + 1) == Some(&b'u') => (hex(i + 2, 4), 6),
            b'\\' if bytes.get(i + 1) == Some(&b'x') => (hex(i + 2, 2), 4),
            _ => (None, 1),
        };
        match code {
            // percent escapes are bytes of UTF-8
            Some(byte) if len == 3 => out.extend(u8::try_from(byte)),
            Some(code) => out.extend(char::from_u32(code).unwrap_or('\u{fffd}').to_string().into_bytes()),
            None => out.push(bytes[i]),
        }
        i += if code.is_some() { len } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn listed(list: &[String]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

fn quoted(list: &[String]) -> String {
    if list.is_empty() {
        return "none".to_owned();
    }
    list.iter().map(|p| format!("{p:?}")).collect::<Vec<_>>().join(", ")
}
