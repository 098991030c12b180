//! Tokens that an issuer signs, on a real API server: keys from a Secret and from an https URL, rotated, and what the status says of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as KIND, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::system::{Provider, System, until};

/// A key of an issuer.
struct Key {
    pair: EcdsaKeyPair,
    id: &'static str,
}

impl Key {
    fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&KIND, &random).expect("a key");
        Self {
            pair: EcdsaKeyPair::from_pkcs8(&KIND, pkcs8.as_ref(), &random).expect("a key"),
            id,
        }
    }

    fn set(&self) -> String {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": B64.encode(x), "y": B64.encode(y)}]}).to_string()
    }

    fn token(&self, audience: &str) -> String {
        let claims =
            json!({"iss": "https://issuer.example", "aud": audience, "sub": "okta", "exp": jiff::Timestamp::now().as_second() + 300});
        let header = json!({"alg": "ES256", "kid": self.id});
        let message = format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()));
        let signed = self.pair.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", B64.encode(signed))
    }
}

/// Serves a key set over https; the URL, and its certificate as a file.
async fn publish(system: &System<'_>, set: Arc<Mutex<String>>) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = |name: &str| system.cluster.dir().join(format!("{}-{name}", system.installed.fullname));
    let (cert, key) = (file("issuer.crt"), file("issuer.key"));
    std::fs::write(&cert, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    let router = Router::new().fallback(move || {
        let set = set.lock().expect("no panic").clone();
        std::future::ready(([("content-type", "application/jwk-set+json")], set))
    });
    let tls = rolecall::gateway::tls::Tls::load(cert.clone(), key).expect("a certificate");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let (_end, ended) = tokio::sync::watch::channel(false);
        rolecall::gateway::server::run(listener, Some(tls), router, ended, rolecall::gateway::server::Timeouts::default()).await
    });
    (format!("https://localhost:{port}/keys"), cert.display().to_string())
}

async fn answers(provider: &Provider, token: &str, wanted: u16) {
    let as_it = Provider {
        token: token.to_owned(),
        ..provider.clone()
    };
    let seen = until(Duration::from_secs(40), || async {
        as_it.try_get("/Users?count=0").await.is_ok_and(|(status, _)| status == wanted)
    });
    assert!(seen.await.is_ok(), "never {wanted}: {:?}", as_it.try_get("/Users?count=0").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_may_prove_itself_by_what_its_issuer_signs() {
    let system = System::install(Cluster::shared(), "issuer").await;
    let _controller = system.controller();
    let (first, second) = (Key::new("first"), Key::new("second"));
    let published = Arc::new(Mutex::new("not there yet".to_owned()));
    let (url, ca) = publish(&system, published.clone()).await;
    let gateway = system
        .gateway_with(
            &[
                "--allow-network=127.0.0.0/8",
                "--allow-network=::1/128",
                &format!("--upstream-ca={ca}"),
                "--refresh=1s",
            ],
            None,
        )
        .await;
    let (okta, entra) = (
        system.source(&gateway.url, "issuer-okta").await,
        system.source(&gateway.url, "issuer-entra").await,
    );
    let push = |name: &str, push: Value| system.merge("scimsource", None, name, &json!({"push": push}));
    let issuer = json!({"issuer": "https://issuer.example", "audience": "rolecall-okta", "algorithms": ["ES256"]});
    let with = |key: &str, value: Value| {
        let mut jwt = issuer.clone();
        jwt[key] = value;
        json!({"jwt": jwt})
    };

    // What an admin may write.
    let secret = json!({"name": "issuer-keys", "key": "jwks.json"});
    for (wrong, says) in [
        (json!({"tokens": []}), "tokens, jwt or both"),
        (json!({"jwt": issuer}), "exactly one of jwksSecretKeyRef and jwksUri"),
        (with("jwksUri", json!("http://localhost/keys")), "jwksUri"),
        (with("jwksUri", json!("https://user@localhost/keys")), "jwksUri"),
        (
            json!({"jwt": {"issuer": "x", "audience": "y", "algorithms": ["HS256"], "jwksSecretKeyRef": secret}}),
            "HS256",
        ),
        (
            json!({"tokens": [{"name": "jwt", "secretKeyRef": {"name": "a", "key": "b"}}], "jwt": with("jwksSecretKeyRef", secret.clone())["jwt"]}),
            "no token may have the name",
        ),
    ] {
        let refused = push("issuer-okta", wrong);
        assert!(!refused.ok && refused.stderr.contains(says), "{says}: {}", refused.stderr);
    }

    // Beside a token: a Secret that is not there yet is told, and what is there goes on.
    push("issuer-okta", with("jwksSecretKeyRef", secret)).expect_ok();
    let told = system
        .until_condition("scimsource", None, "issuer-okta", "Degraded", "True", "TokenUnusable")
        .await;
    assert!(told.contains("jwt: ") && told.contains("--from-file=jwks.json"), "{told}");
    answers(&okta, &first.token("rolecall-okta"), 401).await;
    let secrets: Api<Secret> = Api::namespaced(system.cluster.admin().await, &system.installed.namespace);
    let object = serde_json::from_value(json!({"metadata": {"name": "issuer-keys"}, "stringData": {"jwks.json": first.set()}}));
    secrets
        .create(&Default::default(), &object.expect("a Secret"))
        .await
        .expect("a Secret");
    answers(&okta, &first.token("rolecall-okta"), 200).await;
    answers(&okta, &okta.token, 200).await;
    for (provider, token) in [
        (&okta, first.token("rolecall-entra")),
        (&okta, second.token("rolecall-okta")),
        (&entra, first.token("rolecall-okta")),
        (&entra, okta.token.clone()),
    ] {
        answers(provider, &token, 401).await;
    }
    let used = until(Duration::from_secs(20), || async {
        let status = system.status("scimsource", None, "issuer-okta");
        let jwt = status["tokens"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|one| one["name"] == "jwt")
            .cloned();
        let degraded = status["conditions"].to_string().contains("TokenUnusable");
        jwt.is_some_and(|one| one["lastUsed"].is_string()) && !degraded
    });
    assert!(used.await.is_ok(), "{:#}", system.status("scimsource", None, "issuer-okta"));

    // Instead of a token, from the issuer itself: nothing is accepted until its keys can be read; then a new key is found by the token that names it,
    // and the keys known stay in use while the issuer is in trouble.
    let mut by_url = with("jwksUri", json!(url));
    by_url["tokens"] = json!([]);
    by_url["jwt"]["jwksSecretKeyRef"] = Value::Null;
    push("issuer-okta", by_url).expect_ok();
    let told = system
        .until_condition("scimsource", None, "issuer-okta", "Ready", "False", "NoUsableToken")
        .await;
    assert!(told.contains(&url) && told.contains("the gateway's log says why"), "{told}");
    assert!(gateway.log().contains("it is no JWK Set"), "{}", gateway.log());
    answers(&okta, &first.token("rolecall-okta"), 401).await;
    answers(&okta, &okta.token, 401).await;
    *published.lock().expect("no panic") = first.set();
    answers(&okta, &first.token("rolecall-okta"), 200).await;
    *published.lock().expect("no panic") = second.set();
    answers(&okta, &second.token("rolecall-okta"), 200).await;
    answers(&okta, &first.token("rolecall-okta"), 401).await;
    *published.lock().expect("no panic") = String::new();
    tokio::time::sleep(Duration::from_secs(2)).await;
    answers(&okta, &Key::new("third").token("rolecall-okta"), 401).await;
    answers(&okta, &second.token("rolecall-okta"), 200).await;
    system.until_condition("scimsource", None, "issuer-okta", "Ready", "True", "").await;
    // An issuer that withdraws its keys is believed.
    *published.lock().expect("no panic") = r#"{"keys": []}"#.to_owned();
    answers(&okta, &second.token("rolecall-okta"), 401).await;
}
