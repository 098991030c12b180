//! Signed assertions: how a client of an authorization server proves that it has a private key (RFC 7523). Nothing is sent from here.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};

use super::Failure;

/// How long an assertion is good, in seconds: no server takes more than an hour, and some no more than five minutes.
const LASTS: i64 = 300;

/// A private key, with what tells a server which one it is.
pub(super) struct Signer {
    key: RsaKeyPair,
    padding: &'static dyn RsaEncoding,
    header: Value,
}

impl Signer {
    /// A key as PEM, with its id if there is one.
    pub(super) fn new(pem: &[u8], id: Option<&str>) -> Result<Self, Failure> {
        let bad = |why: &str| {
            Failure::new(
                "BadCredential",
                format!("the private key cannot be used: {why}; an RSA key of 2,048 bits or more is needed, as PEM"),
            )
        };
        let key = match PrivateKeyDer::from_pem_slice(pem).map_err(|_| bad("it is no PEM"))? {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(bad("it is no RSA key")),
        };
        let key = key.map_err(|error| bad(&error.to_string()))?;
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = id {
            header["kid"] = json!(id);
        }
        Ok(Self {
            key,
            padding: &RSA_PKCS1_SHA256,
            header,
        })
    }

    /// The same, known by its certificate's SHA-256 (RFC 7515 §4.1.8), and with the padding that Entra's documentation wants beside it.
    pub(super) fn with_certificate(pem: &[u8], certificate: &[u8]) -> Result<Self, Failure> {
        let bad = |_| Failure::new("BadCredential", "the certificate is no PEM");
        let certificate = CertificateDer::from_pem_slice(certificate).map_err(bad)?;
        let mut signer = Self::new(pem, None)?;
        signer.padding = &RSA_PSS_SHA256;
        signer.header["alg"] = json!("PS256");
        signer.header["x5t#S256"] = json!(BASE64.encode(digest::digest(&digest::SHA256, &certificate)));
        Ok(signer)
    }

    /// Claims, with a time, an end and an id of their own, signed.
    pub(super) fn sign(&self, mut claims: Value) -> Result<String, Failure> {
        let now = Timestamp::now().as_second();
        for (name, value) in [
            ("iat", json!(now)),
            ("nbf", json!(now)),
            ("exp", json!(now + LASTS)),
            ("jti", json!(uuid::Uuid::new_v4().to_string())),
        ] {
            claims[name] = value;
        }
        let message = format!("{}.{}", BASE64.encode(self.header.to_string()), BASE64.encode(claims.to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        let signed = self
            .key
            .sign(self.padding, &SystemRandom::new(), message.as_bytes(), &mut signature);
        signed.map_err(|_| Failure::new("BadCredential", "the private key does not sign"))?;
        Ok(format!("{message}.{}", BASE64.encode(signature)))
    }
}
