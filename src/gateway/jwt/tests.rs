use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use serde_json::json;

use super::*;
use crate::api::push::JwtAlgorithm;

/// Private keys that sign what a test says; the RSA key is for tests only.
struct Signer {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let kind = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            ec: EcdsaKeyPair::from_pkcs8(kind, ec.as_ref(), &random).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
            rsa: RsaKeyPair::from_pkcs8(include_bytes!("../../../tests/data/jwt-rsa.pk8.der")).unwrap(),
        }
    }

    /// The set as an issuer publishes it: with keys that are not for this.
    fn set(&self) -> Value {
        let (x, y) = self.ec.public_key().as_ref()[1..].split_at(32);
        let rsa: ring::rsa::PublicKeyComponents<Vec<u8>> = self.rsa.public_key().into();
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "kid": "ec", "use": "sig", "alg": "ES256", "x": B64.encode(x), "y": B64.encode(y)},
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": B64.encode(self.ed.public_key())},
            {"kty": "RSA", "kid": "rsa", "n": B64.encode(&rsa.n), "e": B64.encode(&rsa.e), "issuer": "as Entra adds"},
            {"kty": "RSA", "kid": "encrypts", "use": "enc", "n": B64.encode(&rsa.n), "e": B64.encode(&rsa.e)},
            {"kty": "RSA", "kid": "oaep", "alg": "RSA-OAEP", "n": B64.encode(&rsa.n), "e": B64.encode(&rsa.e)},
            {"kty": "RSA", "kid": "as another", "alg": "ES256", "n": B64.encode(&rsa.n), "e": B64.encode(&rsa.e)},
            {"kty": "RSA", "kid": "wraps", "key_ops": ["wrapKey"], "n": B64.encode(&rsa.n), "e": B64.encode(&rsa.e)},
            {"kty": "oct", "kid": "secret", "k": B64.encode("a shared secret of at least 32 characters")},
            {"kty": "unheard of"}, 7,
        ]})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn signature::RsaEncoding| {
            let mut out = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(padding, &random, message.as_bytes(), &mut out).unwrap();
            out
        };
        let signed = match header["alg"].as_str().unwrap() {
            "ES256" => self.ec.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "HS256" => {
                let public: &[u8] = self.rsa.public_key().as_ref();
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public);
                ring::hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{message}.{}", B64.encode(signed))
    }
}

fn issuer(signer: &Signer, change: impl FnOnce(&mut Spec)) -> Issuer {
    let mut spec = Spec {
        issuer: "https://issuer.example/".into(),
        audience: "rolecall".into(),
        algorithms: vec![JwtAlgorithm::ES256, JwtAlgorithm::RS256, JwtAlgorithm::PS256, JwtAlgorithm::EdDSA],
        ..Spec::default()
    };
    change(&mut spec);
    Issuer::new(Arc::new(spec), Arc::new(Keys::parse(signer.set().to_string().as_bytes()).unwrap()))
}

fn claims() -> Value {
    let now = jiff::Timestamp::now().as_second();
    json!({"iss": "https://issuer.example/", "aud": "rolecall", "sub": "client-1", "exp": now + 300, "iat": now})
}

fn with(mut value: Value, pointer: &str, to: Value) -> Value {
    match to {
        Value::Null => value.as_object_mut().unwrap().shift_remove(&pointer[1..]).map_or((), drop),
        to => value[&pointer[1..]] = to,
    }
    value
}

#[test]
fn tokens_of_the_issuer_are_accepted() {
    let signer = Signer::new();
    let issuer = issuer(&signer, |_| ());
    for (alg, kid) in [
        ("ES256", Some("ec")),
        ("EdDSA", Some("ed")),
        ("RS256", Some("rsa")),
        ("PS256", Some("rsa")),
        ("RS256", None),
        ("EdDSA", None),
    ] {
        let header = with(json!({"typ": "JWT", "alg": alg}), "/kid", kid.map_or(Value::Null, Value::from));
        assert!(issuer.proves(&signer.sign(&header, &claims())), "{header}");
    }
    let header = json!({"alg": "ES256", "kid": "ec"});
    for good in [
        with(claims(), "/aud", json!(["another", "rolecall"])),
        with(claims(), "/sub", Value::Null),
        with(claims(), "/nbf", json!(1_700_000_000)),
        with(claims(), "/exp", json!(jiff::Timestamp::now().as_second() - 20)),
        with(claims(), "/more", json!({"roles": ["a"]})),
    ] {
        assert!(issuer.proves(&signer.sign(&header, &good)), "{good}");
    }
    assert!(!issuer.keys.unknown());
}

#[test]
fn no_other_token_is() {
    let signer = Signer::new();
    let issuer = issuer(&signer, |_| ());
    let header = json!({"alg": "ES256", "kid": "ec"});
    let now = jiff::Timestamp::now().as_second();
    for bad in [
        with(claims(), "/iss", json!("https://issuer.example")),
        with(claims(), "/iss", json!(["https://issuer.example/"])),
        with(claims(), "/iss", Value::Null),
        with(claims(), "/aud", json!("rolecall2")),
        with(claims(), "/aud", json!([])),
        with(claims(), "/aud", Value::Null),
        with(claims(), "/exp", json!(now - 120)),
        with(claims(), "/exp", json!("tomorrow")),
        with(claims(), "/exp", Value::Null),
        with(claims(), "/nbf", json!(now + 120)),
        with(claims(), "/nbf", json!("yesterday")),
        with(claims(), "/sub", json!(7)),
    ] {
        assert!(!issuer.proves(&signer.sign(&header, &bad)), "{bad}");
    }
    for bad in [
        json!({"alg": "none"}),
        json!({"alg": "HS256", "kid": "rsa"}),
        json!({"alg": "HS256", "kid": "secret"}),
        json!({"alg": "RS512", "kid": "rsa"}), // not among the allowed
        json!({"alg": "RS256", "kid": "ec"}),
        json!({"alg": "RS256", "kid": "encrypts"}),
        json!({"alg": "RS256", "kid": "oaep"}),
        json!({"alg": "RS256", "kid": "wraps"}),
        json!({"alg": "ES256", "kid": "as another"}),
        json!({"alg": "ES256", "kid": "ed"}),
        json!({"alg": "ES256", "kid": "ec", "crit": ["exp"]}),
        json!({"alg": "ES256", "kid": "ec", "crit": []}),
    ] {
        assert!(!issuer.proves(&signer.sign(&bad, &claims())), "{bad}");
    }
    let good = signer.sign(&header, &claims());
    assert!(issuer.proves(&good));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (head, body) = message.split_once('.').unwrap();
    let other = B64.encode(with(claims(), "/sub", json!("somebody")).to_string());
    for bad in [
        String::new(),
        "..".to_owned(),
        format!("{message}."),
        message.to_owned(),
        format!("{head}.{other}.{signature}"),
        format!("{good}.{good}"),
        format!("{good}A"),
        format!("{good}{}", "A".repeat(LONGEST)),
        format!("{head}.{body}.{}", B64.encode([0; 64])),
    ] {
        assert!(!issuer.proves(&bad), "{bad}");
    }
    let stranger = Signer::new();
    assert!(
        !issuer.proves(&stranger.sign(&header, &claims())),
        "signed by another key of the same name"
    );
}

#[test]
fn only_the_subjects_that_are_named() {
    let signer = Signer::new();
    let issuer = issuer(&signer, |spec| spec.subjects = vec!["client-1".into(), "client-2".into()]);
    let header = json!({"alg": "EdDSA", "kid": "ed"});
    let check = |sub: Value, good: bool| {
        assert_eq!(
            issuer.proves(&signer.sign(&header, &with(claims(), "/sub", sub.clone()))),
            good,
            "{sub}"
        )
    };
    check(json!("client-2"), true);
    check(json!("client"), false);
    check(json!(""), false);
    check(Value::Null, false);
}

#[test]
fn a_key_that_is_not_there_is_asked_for() {
    let signer = Signer::new();
    let issuer = issuer(&signer, |_| ());
    assert!(!issuer.proves(&signer.sign(&json!({"alg": "ES256", "kid": "newer"}), &claims())));
    assert!(issuer.keys.unknown());
}

#[test]
fn key_sets() {
    for (bad, why) in [
        ("", "no JWK Set"),
        ("[]", "no JWK Set"),
        ("{}", "no JWK Set"),
        (r#"{"keys": []}"#, "no RSA, EC or Ed25519 key"),
        (r#"{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}"#, "no RSA, EC or Ed25519 key"),
    ] {
        let error = Keys::parse(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(why), "{bad}: {error}");
    }
    assert!(Keys::parse(&vec![b' '; LARGEST_SET + 1]).unwrap_err().to_string().contains("bytes"));
    // A Secret that is no key set is not told to anybody.
    for secret in [
        r#""hunter2hunter2""#,
        r#"{"keys": "hunter2hunter2"}"#,
        "4821390001",
        r#"{"hunter2hunter2": 1}"#,
    ] {
        let error = Keys::parse(secret.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("hunter2") && !error.contains("4821"), "{error}");
    }
    let keys = Keys::parse(Signer::new().set().to_string().as_bytes()).unwrap();
    assert_eq!(format!("{keys:?}"), "Keys(3)");
}

#[test]
fn a_source_takes_the_tokens_of_its_own_issuer_and_its_own_secrets() {
    use super::super::tokens::Sources;
    let signer = Signer::new();
    let sources = Sources::default();
    let served = |name: &str, audience: &str| {
        let mut served = Sources::one(name, "uid", &format!("{name}-{}", "x".repeat(32)))
            .all()
            .remove(0)
            .as_ref()
            .clone();
        served.jwt = Some(issuer(&signer, |spec| spec.audience = audience.into()));
        served
    };
    sources.set([served("okta", "for-okta"), served("entra", "for-entra")]);
    let token = signer.sign(&json!({"alg": "ES256", "kid": "ec"}), &with(claims(), "/aud", json!("for-okta")));
    let check = |source: &str, token: &str, expected: Option<&str>| {
        let now = jiff::Timestamp::now();
        let found = sources
            .authenticate(source, Some(token), now)
            .or_else(|| sources.prove(source, token));
        assert_eq!(found.map(|(_, name)| name.to_string()).as_deref(), expected, "{source}");
    };
    let known = |seconds: i64| {
        let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        sources.authenticate("okta", Some(&token), at).is_some()
    };
    assert!(!known(0), "it was not proved yet");
    check("okta", &token, Some("jwt"));
    assert!(known(0) && known(350) && !known(361), "what was proved holds until it ends");
    check("entra", &token, None);
    check("nobody", &token, None);
    check("okta", &format!("okta-{}", "x".repeat(32)), Some("token"));
    check("entra", &format!("okta-{}", "x".repeat(32)), None);
}
