//! A server behind TLS whose k-th answer may be spoilt, and what access depends on. Nothing here knows what it serves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use reqwest::Url;
use tokio::sync::watch;

use super::*;
use crate::gateway::upstream::Upstream;
use crate::gateway::upstream::http::{Credential, Http, bearer};
use crate::gateway::upstream::poller::make;
use crate::gateway::{server, tls::Tls};
use crate::ops::fetch::{Fetcher, Reach, Timeouts};

pub(super) const TOKEN: &str = "a-token-of-at-least-32-characters-for-upstream";
const PATIENT: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(1),
    whole: Duration::from_secs(10),
};

/// What is done to one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Short,
    Duplicate,
    Missing,
    Total,
    Html,
    Empty,
    TooMany,
    ServerError,
    Reset,
    Stall,
    Forbidden,
}

pub(super) const FAULTS: [Fault; 11] = [
    Fault::Short,
    Fault::Duplicate,
    Fault::Missing,
    Fault::Total,
    Fault::Html,
    Fault::Empty,
    Fault::TooMany,
    Fault::ServerError,
    Fault::Reset,
    Fault::Stall,
    Fault::Forbidden,
];

/// The server.
pub(super) struct Fake {
    base: Url,
    fetcher: Fetcher,
    fault: Arc<Mutex<Option<(usize, Fault)>>>,
    answers: Arc<AtomicUsize>,
    _end: watch::Sender<bool>,
    folder: std::path::PathBuf,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Fake {
    /// Serves it.
    pub(super) async fn start(router: Router) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (fault, answers) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let (spoil, count) = (fault.clone(), answers.clone());
        let layer = from_fn(move |request: Request, next: Next| {
            let (spoil, k) = (spoil.clone(), count.fetch_add(1, Ordering::SeqCst));
            async move {
                let fault = spoil.lock().unwrap_or_else(PoisonError::into_inner).filter(|(at, _)| *at == k);
                let answer = next.run(request).await;
                match fault {
                    None => answer,
                    Some((_, fault)) => spoilt(answer, fault).await,
                }
            }
        });
        let folder = std::env::temp_dir().join(format!("rolecall-upstream-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| folder.join(name);
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(file("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(file("tls.key"), made.signing_key.serialize_pem()).unwrap();
        let tls = Tls::load(file("tls.crt"), file("tls.key")).unwrap();
        let listener = server::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (end, ended) = watch::channel(false);
        tokio::spawn(server::run(
            listener,
            Some(tls),
            router.layer(layer),
            ended,
            server::Timeouts::default(),
        ));
        let reach = Reach {
            networks: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            ca: Some(file("tls.crt")),
        };
        Self {
            base: format!("https://localhost:{port}").parse().unwrap(),
            fetcher: Fetcher::new(&reach).unwrap(),
            fault,
            answers,
            _end: end,
            folder,
        }
    }

    /// A client of what is served below a path.
    pub(super) fn http(&self, path: &str) -> Http {
        let session = self.fetcher.session(None, None, PATIENT).unwrap();
        let credential = Credential::Header(bearer(TOKEN).unwrap());
        Http::new(session, self.base.join(path).unwrap(), credential, Duration::from_millis(1))
    }

    /// Spoils the k-th answer from now on, the first is 0.
    pub(super) fn spoil(&self, fault: Option<(usize, Fault)>) {
        self.answers.store(0, Ordering::SeqCst);
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// How many answers there were since.
    pub(super) fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }
}

async fn spoilt(answer: Response, fault: Fault) -> Response {
    let status = |status: u16| {
        Response::builder()
            .status(status)
            .header("retry-after", "0")
            .body(Body::empty())
            .unwrap()
    };
    match fault {
        Fault::Html => return Response::builder().body(Body::from("<html>Sign in</html>")).unwrap(),
        Fault::TooMany => return status(429),
        Fault::ServerError => return status(500),
        Fault::Forbidden => return status(403),
        Fault::Reset => {
            let half = futures::stream::iter([Ok("{\"Resources\": ["), Err(std::io::Error::other("cut"))]);
            return Response::new(Body::from_stream(half));
        }
        Fault::Stall => {
            tokio::time::sleep(PATIENT.read + Duration::from_millis(200)).await;
            return answer;
        }
        Fault::Short | Fault::Duplicate | Fault::Missing | Fault::Total | Fault::Empty => {}
    }
    let (parts, body) = answer.into_parts();
    let mut body: Value = serde_json::from_slice(&to_bytes(body, usize::MAX).await.unwrap()).unwrap();
    // the members of one SCIM group are no list of its own: what a resource has, it has
    let names: &[&str] = if body["kind"].is_string() {
        &["users", "groups", "members"]
    } else {
        &["Resources", "value"]
    };
    let named = |body: &Value| names.iter().find(|name| body[**name].is_array()).copied();
    let list = match named(&body) {
        Some(name) => body[name].as_array_mut(),
        None => body.as_array_mut(),
    };
    if let Some(list) = list {
        match fault {
            Fault::Short => list.truncate(list.len() / 2),
            Fault::Duplicate => list.extend(list.first().cloned()),
            Fault::Missing => _ = (!list.is_empty()).then(|| list.remove(list.len() / 2)),
            Fault::Empty => list.clear(),
            _ => {}
        }
    }
    if let (Fault::Total, Some(total)) = (fault, body["totalResults"].as_u64()) {
        body["totalResults"] = json!(total + 1);
    }
    if let (Fault::Empty, true) = (fault, body.get("totalResults").is_some()) {
        body["totalResults"] = json!(0);
    }
    let mut answer = Response::from_parts(parts, Body::from(body.to_string()));
    answer.headers_mut().remove("content-length");
    answer
}

/// Everything that access depends on: names, whether somebody is active, and who is in which group.
pub(super) fn picture(world: &World) -> BTreeMap<String, (bool, BTreeSet<String>)> {
    world.look(|source| {
        let all = source.of_kind(Kind::User) | source.of_kind(Kind::Group);
        let name = |n: u32| source.get(n).map(|one| one.name.to_string()).unwrap_or_default();
        let shown = |n: u32| (name(n), (source.active().contains(n), source.members(n).iter().map(name).collect()));
        all.iter().map(shown).collect()
    })
}

/// A full pass; how it ended.
pub(super) async fn pass(world: &mut World, upstream: &dyn Upstream) -> Result<(), String> {
    let mut intake = world.open(true).await;
    let made = make(upstream, None, &mut intake, Duration::from_secs(20)).await;
    let wrong = world.end(intake).await;
    made.map_err(|failure| failure.reason.to_owned())?;
    wrong.map_or(Ok(()), Err)
}

/// Every fault on every answer of a pass, from what is here after a good one: nobody loses anything. How many were tried, and how many passes did not come to a
/// good end.
pub(super) async fn faults(fake: &Fake, upstream: &dyn Upstream, what: &str) -> (usize, usize) {
    let mut world = World::new().await;
    fake.spoil(None);
    assert_eq!(pass(&mut world, upstream).await, Ok(()), "{what}");
    let (good, answers) = (picture(&world), fake.answers());
    let (mut tried, mut failed) = (0, 0);
    for fault in FAULTS {
        for k in 0..answers {
            fake.spoil(Some((k, fault)));
            let ended = pass(&mut world, upstream).await;
            tried += 1;
            failed += usize::from(ended.is_err());
            assert_eq!(picture(&world), good, "{what}: {fault:?} on answer {k} of {answers}: {ended:?}");
            // a pass that lacked somebody is not followed by another that lacks the same one
            fake.spoil(None);
            assert_eq!(
                pass(&mut world, upstream).await,
                Ok(()),
                "{what}: well again after {fault:?} on {k}"
            );
            assert_eq!(picture(&world), good, "{what}: well again after {fault:?} on {k}");
        }
    }
    (tried, failed)
}
