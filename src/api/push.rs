//! `spec.push` of a `ScimSource`: how a provider that pushes proves who it is.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What status, logs and the journal call the tokens of `jwt`.
pub const JWT: &str = "jwt";

/// The provider pushes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("size(self.tokens) > 0 || has(self.jwt)").message("the provider needs something to prove itself with: tokens, jwt or both"))]
#[x_kube(validation = kube::core::Rule::new("!has(self.jwt) || !self.tokens.exists(t, t.name == 'jwt')").message("beside jwt no token may have the name \"jwt\": the status calls the issuer's tokens so"))]
pub struct Push {
    /// The bearer tokens that are accepted; several at once, so that they can be rotated without an outage.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tokens: Vec<Token>,
    /// Bearer tokens that are accepted because an issuer signed them (JWT, RFC 7519), beside `tokens` or instead of them: no secret is shared, and each ends by itself. Give the provider's client an audience of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<Box<Jwt>>,
}

/// Whose signed tokens are accepted. Each must have `iss`, `aud` and `exp`; a minute of difference between the clocks is allowed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = kube::core::Rule::new("has(self.jwksSecretKeyRef) != has(self.jwksUri)").message("exactly one of jwksSecretKeyRef and jwksUri"))]
pub struct Jwt {
    /// The claim `iss`, exactly, such as `https://sts.windows.net/<tenant>/`.
    #[schemars(length(min = 1, max = 1024))]
    pub issuer: String,
    /// What the claim `aud` must be, or hold. One that nothing else uses: whoever gets a token for it may provision.
    #[schemars(length(min = 1, max = 1024))]
    pub audience: String,
    /// The values of the claim `sub` that are accepted: the provider's clients. Empty: whoever the issuer gives a token for the audience.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub subjects: Vec<String>,
    /// The signature algorithms that are accepted, whatever a token says. The keys must be RSA of 2,048 bits or more, P-256, P-384 or Ed25519.
    #[serde(default = "rs256")]
    #[schemars(length(min = 1, max = 9), extend("x-kubernetes-list-type" = "set"))]
    pub algorithms: Vec<JwtAlgorithm>,
    /// The issuer's public keys as a JWK Set (RFC 7517), in a key of a Secret in Rolecall's own namespace. It is read again about every ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_secret_key_ref: Option<SecretKeyRef>,
    /// Where the issuer publishes its JWK Set. It is read every five minutes, and soon after a token named a key that is not in it. Only public addresses, unless the gateway's `--allow-network` says more; redirects are not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), pattern(r"^https://[^\s@]+$"))]
    pub jwks_uri: Option<String>,
}

fn rs256() -> Vec<JwtAlgorithm> {
    vec![JwtAlgorithm::RS256]
}

/// A signature algorithm (RFC 7518 §3.1, RFC 8037 §3.1); none with a shared secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum JwtAlgorithm {
    #[default]
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl JwtAlgorithm {
    /// Its name in the registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// One bearer token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// A name for logs and status, such as the quarter in which it was issued. Never the token itself.
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Where the token is: a key of a Secret in Rolecall's own namespace. At least 32 characters; `openssl rand -base64 32` makes one.
    pub secret_key_ref: SecretKeyRef,
    /// When the token stops being accepted (RFC 3339). RFC 7644 §7.4 asks for a limited lifetime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), extend("format" = "date-time"))]
    pub not_after: Option<String>,
}

/// A key of a Secret in Rolecall's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key inside the Secret's `data`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
