//! The answer of `/readyz`, by named gates, as the API server's own looks. What has to hold is each part's business.

use axum::response::{IntoResponse, Response};
use http::StatusCode;

/// One thing that has to hold before a process is ready.
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// Why it does not hold.
    pub trouble: Option<String>,
}

impl Gate {
    /// A gate that holds when there is no trouble.
    pub fn new(name: &'static str, trouble: Option<String>) -> Self {
        Self { name, trouble }
    }
}

/// `ok`, or 503 with all gates; `?verbose` shows them in any case.
pub fn answer(query: Option<&str>, gates: &[Gate]) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|one| one.split('=').next() == Some("verbose")));
    let ready = gates.iter().all(|gate| gate.trouble.is_none());
    if ready && !verbose {
        return "ok\n".into_response();
    }
    let lines = gates.iter().map(|gate| match &gate.trouble {
        None => format!("[+]{} ok\n", gate.name),
        Some(trouble) => format!("[-]{} failed: {trouble}\n", gate.name),
    });
    let mut text: String = lines.collect();
    let (status, end) = match ready {
        true => (StatusCode::OK, "readyz check passed\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "readyz check failed\n"),
    };
    text.push_str(end);
    (status, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn said(query: Option<&str>, trouble: Option<&str>) -> (u16, String) {
        let gates = [Gate::new("sources", None), Gate::new("journal", trouble.map(str::to_owned))];
        let response = answer(query, &gates);
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    #[tokio::test]
    async fn what_is_not_ready_is_named() {
        assert_eq!(said(None, None).await, (200, "ok\n".to_owned()));
        let all = "[+]sources ok\n[+]journal ok\nreadyz check passed\n";
        assert_eq!(said(Some("verbose"), None).await, (200, all.to_owned()));
        assert_eq!(said(Some("a=b&verbose=1"), None).await.1, all);
        let lost = "[+]sources ok\n[-]journal failed: it is lost\nreadyz check failed\n";
        assert_eq!(said(None, Some("it is lost")).await, (503, lost.to_owned()));
    }
}
