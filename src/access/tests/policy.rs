use crate::access::policy::{AccessPolicy, subject};
use crate::api::mapping::RoleKind;

const POLICY: &str = r#"
clusterRoles: [view, edit]
roles: [deployer]
clusterWideRoles: []
usernamePrefixes: ["oidc:", "corp/"]
groupPrefixes: []
protectedNamespaces: ["rolecall-system", "kube-*", argocd]
"#;

fn policy(text: &str) -> AccessPolicy {
    AccessPolicy::parse(text).expect("a policy")
}

/// Deterministic, and the same everywhere: xorshift64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

#[test]
fn roles_are_those_of_the_lists() {
    let policy = policy(POLICY);
    for (kind, name, good) in [
        (RoleKind::ClusterRole, "view", true),
        (RoleKind::ClusterRole, "View", false),
        (RoleKind::ClusterRole, "cluster-admin", false),
        (RoleKind::ClusterRole, "deployer", false),
        (RoleKind::ClusterRole, "", false),
        (RoleKind::Role, "deployer", true),
        (RoleKind::Role, "view", false),
    ] {
        assert_eq!(policy.role(kind, name).is_ok(), good, "{kind:?} {name}");
    }
    let refusal = policy.role(RoleKind::ClusterRole, "admin").expect_err("not listed");
    assert_eq!(
        refusal.to_string(),
        r#"RoleNotAllowed: "admin" is not in accessPolicy.clusterRoles (Helm value); allowed: view, edit"#
    );
}

#[test]
fn namespaces_are_protected_by_name_and_beginning() {
    let policy = policy(POLICY);
    for (name, good) in [
        ("team-a", true),
        ("kube", true),
        ("kube-system", false),
        ("kube-", false),
        ("argocd", false),
        ("argocd-2", true),
        ("rolecall-system", false),
    ] {
        assert_eq!(policy.namespace(name).is_ok(), good, "{name}");
    }
    let refusal = policy.namespace("kube-system").expect_err("protected");
    assert_eq!(refusal.reason, "NamespaceProtected");
    assert!(refusal.message.contains("kube-*, argocd"), "{}", refusal.message);
}

#[test]
fn usernames_have_a_prefix_and_more() {
    let policy = policy(POLICY);
    for (name, good) in [
        ("oidc:ada@corp.example", true),
        ("corp/ada", true),
        ("oidc:system:masters", true), // its prefix makes it somebody else's name
        ("oidc:", false),
        ("ada", false),
        ("OIDC:ada", false),
        (" oidc:ada", false),
        ("oidc:a\nb", false),
        ("oidc:a\u{0}", false),
        ("oidc:a\u{85}b", false),
        ("", false),
        ("   ", false),
        ("\u{3000}", false),
    ] {
        assert_eq!(policy.subject(name).is_ok(), good, "{name:?}");
    }
    assert!(policy.subject(&format!("oidc:{}", "a".repeat(1019))).is_ok());
    assert!(policy.subject(&format!("oidc:{}", "a".repeat(1020))).is_err());
    let refusal = policy.subject("ada@corp.example").expect_err("no prefix");
    assert!(
        !refusal.message.contains("ada"),
        "no person's data in a message: {}",
        refusal.message
    );
    assert!(refusal.message.contains(r#"allowed: "oidc:", "corp/""#), "{}", refusal.message);
}

#[test]
fn a_policy_that_cannot_be_meant_is_an_error() {
    for (text, says) in [
        ("protectedNamespaces: []\nclusterRole: [view]", "clusterRole"),
        ("clusterRoles: [view]", "protectedNamespaces"),
        ("protectedNamespaces: ['*-system']", "neither a name"),
        ("protectedNamespaces: ['a*b']", "neither a name"),
        ("protectedNamespaces: ['']", "neither a name"),
        ("protectedNamespaces: []\nusernamePrefixes: ['system:']", "Kubernetes' own"),
        (
            "protectedNamespaces: []\nusernamePrefixes: ['System:Serviceaccount:']",
            "Kubernetes' own",
        ),
        ("[]", ""),
        ("", ""),
        ("protectedNamespaces: view", ""),
    ] {
        let error = AccessPolicy::parse(text).expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let all = policy("protectedNamespaces: []\nusernamePrefixes: ['']");
    assert!(all.subject("ada").is_ok());
    assert!(policy("protectedNamespaces: ['*']").namespace("anything").is_err());
}

/// 10,000 disguises of Kubernetes' own names. None passes, though the policy allows every prefix.
#[test]
fn hostile_corpus() {
    const OWN: [&str; 8] = [
        "system:masters",
        "system:admin",
        "system:anonymous",
        "system:serviceaccount:kube-system:default",
        "system:node:worker-1",
        "system:kube-controller-manager",
        "system:",
        "system:authenticated",
    ];
    const INVISIBLE: [char; 12] = [
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{feff}',
        '\u{2060}',
        '\u{ad}',
        '\u{202e}',
        '\u{61c}',
        '\u{fe0f}',
        '\u{180e}',
        '\u{e0001}',
        '\u{34f}',
    ];
    const BLANK: [&str; 8] = [" ", "\t", "\u{a0}", "\u{3000}", "\n", "\u{2003}", "\r\n", "\u{2028}"];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let policy = policy("protectedNamespaces: []\nusernamePrefixes: ['']");
    let mut seen = std::collections::BTreeSet::new();
    let mut tries = 0;
    while seen.len() < 10_000 {
        tries += 1;
        assert!(tries < 200_000, "the dice repeat themselves");
        let mut name: Vec<String> = OWN[dice.roll(OWN.len())].chars().map(String::from).collect();
        // only what stands in `system:` is disguised; the rest may be anything
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(7);
            let c = name[at].clone();
            // upper case would change an escape's letters, which is no disguise of it
            name[at] = match (dice.roll(8), c.chars().next()) {
                (0, Some(c)) if c.is_ascii_graphic() && name[at].len() == 1 => char::from_u32(c as u32 + 0xfee0).unwrap_or(c).to_string(),
                (1, _) if c.chars().count() == 1 => c.to_uppercase(),
                (2, _) => format!("{}{c}", INVISIBLE[dice.roll(INVISIBLE.len())]),
                // what is escaped already is escaped whole, once more
                (3, _) if c.len() < 20 => c.bytes().map(|b| format!("%{b:02X}")).collect(),
                (4, _) if c.is_ascii() && c.len() < 20 => c.bytes().map(|b| format!("\\u{b:04x}")).collect(),
                (5, Some('s')) if name[at].len() == 1 => "ſ".to_owned(),
                (6, Some(c)) if c.is_ascii_lowercase() && name[at].len() == 1 => {
                    char::from_u32(0x1d41a + c as u32 - 'a' as u32).unwrap_or(c).to_string()
                }
                (7, Some(':')) if name[at].len() == 1 => ["：", "﹕", "︓"][dice.roll(3)].to_owned(),
                _ => c,
            };
        }
        let mut name = name.concat();
        if dice.roll(3) == 0 {
            name = format!("{}{name}", BLANK[dice.roll(BLANK.len())]);
        }
        if dice.roll(4) == 0 {
            name = format!("{}{name}", INVISIBLE[dice.roll(INVISIBLE.len())]);
        }
        if dice.roll(5) == 0 {
            name.push_str(BLANK[dice.roll(BLANK.len())]);
        }
        if seen.insert(name.clone()) {
            assert!(policy.subject(&name).is_err(), "{name:?} ({})", name.escape_unicode());
            assert!(subject(&name).is_err(), "{name:?}");
        }
    }
    println!("hostile corpus: {} of {} refused", seen.len(), seen.len());
}

#[test]
fn ordinary_names_are_not_taken_for_hostile_ones() {
    for name in [
        "ada",
        "systematic@corp",
        "system",
        "system.user",
        "corp:system:x",
        "Ünal",
        "李雷",
        "a%20b",
        "a\\b",
        "100%",
        "s:ystem",
        "ſystem",
    ] {
        assert!(subject(name).is_ok(), "{name}");
    }
}
