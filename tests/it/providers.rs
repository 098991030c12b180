//! docs/providers: every object of those pages is one that a real API server takes.

use std::fs;

use crate::cluster::{Cluster, root};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_object_of_the_provider_pages_is_taken() {
    let cluster = Cluster::shared();
    cluster.apply_crds();
    let mut taken = Vec::new();
    for entry in fs::read_dir(root().join("docs/providers")).expect("the pages").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let page = fs::read_to_string(entry.path()).expect("a page");
        for block in page.split("```yaml\n").skip(1) {
            let object = block.split("```").next().unwrap_or_default();
            let output = cluster.apply(object, &["--dry-run=server", "--validate=strict"]);
            assert!(output.ok, "{name}: {}\n{object}", output.stderr);
            taken.push(name.clone());
        }
    }
    for page in ["entra.md", "google.md", "okta.md", "scim.md"] {
        assert!(taken.iter().any(|name| name == page), "{page} has no object");
    }
}
