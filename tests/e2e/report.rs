//! What `make e2e` says: each step with its time, each check, the load and the pods' needs; at the end how many checks hold. Nothing is judged here.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::load::Promised;
use crate::node::Usage;

/// Everything said so far.
pub struct Report {
    begun: Instant,
    held: usize,
    broken: Vec<String>,
}

impl Report {
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            held: 0,
            broken: Vec::new(),
        }
    }

    /// A step that ends the run if it fails; how long it took.
    pub async fn step<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let done = work.await;
        self.took(what, begun.elapsed());
        done
    }

    /// Something that took so long, as it should.
    pub fn took(&mut self, what: &str, time: Duration) {
        self.check(&format!("{what} ({:.1} s)", time.as_secs_f64()), true);
    }

    /// Something that has to be so.
    pub fn check(&mut self, what: &str, so: bool) {
        println!(
            "{:6.1}  {}  {what}",
            self.begun.elapsed().as_secs_f64(),
            if so { "ok    " } else { "FAILED" }
        );
        match so {
            true => self.held += 1,
            false => self.broken.push(what.to_owned()),
        }
    }

    /// A goal that is not met yet is said, with the reason, and does not fail the run; one that is met is a check.
    pub fn goal(&mut self, what: &str, met: bool, why: &str) {
        match met {
            true => self.check(what, true),
            false => println!("{:6.1}  waived  {what}: {why}", self.begun.elapsed().as_secs_f64()),
        }
    }

    /// Something of which there may be none; the first few are shown.
    pub fn list(&mut self, what: &str, found: &[String]) {
        self.check(&format!("{what}: {}", found.len()), found.is_empty());
        for one in found.iter().take(10) {
            println!("          {one}");
        }
    }

    /// What a provider saw.
    pub fn load(&mut self, source: &str, promised: &Promised) {
        let mut times: Vec<f64> = promised.times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        println!(
            "          {source}: {} requests acknowledged, {} failed and were sent again; p50 {:.1} ms, p99 {:.1} ms, longest {:.0} ms",
            times.len(),
            promised.failures.values().sum::<usize>(),
            part(&times, 50),
            part(&times, 99),
            part(&times, 100),
        );
        for ((phase, why), n) in &promised.failures {
            println!("            while {phase}: {n} {why}");
        }
        let unanswered: Vec<String> = promised
            .failures
            .keys()
            .filter(|(_, why)| why == "without an answer in time")
            .map(|(phase, _)| (*phase).to_owned())
            .collect();
        self.list(&format!("{source}: requests without an answer in 30 s, while"), &unanswered);
        let unauthorized: Vec<String> = promised
            .failures
            .keys()
            .filter(|(_, why)| why == "401")
            .map(|(phase, _)| (*phase).to_owned())
            .collect();
        self.list(
            &format!("{source}: requests with a good token that were answered 401, while"),
            &unauthorized,
        );
    }

    /// How large the image is.
    pub fn size(&mut self, archive: &Path, unpacked: &str) {
        let bytes = std::fs::metadata(archive).map(|meta| meta.len()).unwrap_or_default();
        println!(
            "          the image: {:.1} MB as an archive, {unpacked} on the node",
            bytes as f64 / 1e6
        );
    }

    /// How long each pod took from its creation until it was ready.
    pub fn starts(&mut self, pods: &[(String, f64)]) {
        for (pod, seconds) in pods {
            println!("          {pod:50} ready {seconds:.0} s after it was created");
        }
    }

    /// What the pods need.
    pub fn usage(&mut self, when: &str, pods: &[Usage]) {
        println!("          {when}:");
        for pod in pods {
            println!(
                "          {:50} {:6.1} millicores {:6.1} MiB",
                pod.pod, pod.millicores, pod.mebibytes
            );
        }
    }

    /// The sum of it.
    pub fn end(self) -> ExitCode {
        let all = self.held + self.broken.len();
        println!(
            "{} of {all} checks hold, after {:.0} s",
            self.held,
            self.begun.elapsed().as_secs_f64()
        );
        for what in &self.broken {
            println!("FAILED: {what}");
        }
        match self.broken.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }
}

/// So many percent of the sorted are not larger.
pub fn part(sorted: &[f64], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
