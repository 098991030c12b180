use crate::access::deletion::{Crd, Fate, Listed, Namespace, fate};
use crate::access::ledger::Seen;

fn crd(uid: &str, terminating: bool) -> Crd {
    Crd::Present {
        uid: uid.to_owned(),
        terminating,
    }
}

fn has(uid: &str) -> Listed {
    Listed::Has { uid: uid.to_owned() }
}

#[test]
fn what_an_absence_means() {
    let known = Seen {
        uid: "u1".to_owned(),
        crd: "c1".to_owned(),
    };
    use Listed::{Incomplete, Lacks};
    use Namespace::{Active, Gone, None, Terminating, Unknown};
    for (crd, listed, namespace, settled, expected) in [
        (crd("c1", false), has("u1"), Active, false, "alive"),
        (crd("c1", false), has("u2"), Active, true, "changed"),
        (crd("c2", false), has("u1"), None, true, "changed"),
        (Crd::Unknown, has("u1"), None, true, "alive"),
        (crd("c1", true), has("u1"), None, true, "alive"),
        (crd("c1", false), Lacks, None, true, "ended"),
        (crd("c1", false), Lacks, Active, true, "ended"),
        (crd("c1", false), Lacks, Gone, true, "ended"),
        (crd("c1", false), Lacks, None, false, "wait"),
        (crd("c1", false), Lacks, Gone, false, "wait"),
        (crd("c1", false), Lacks, Terminating, true, "wait"),
        (crd("c1", false), Lacks, Unknown, true, "wait"),
        (crd("c1", false), Incomplete, None, true, "wait"),
        (Crd::Unknown, Lacks, None, true, "wait"),
        (Crd::Absent, Lacks, None, true, "orphaned"),
        (Crd::Absent, Incomplete, None, false, "orphaned"),
        (crd("c1", true), Lacks, None, true, "orphaned"),
        (crd("c2", false), Lacks, None, true, "orphaned"),
        (crd("c2", false), Lacks, Gone, true, "orphaned"),
    ] {
        let found = match fate(&known, &crd, &listed, namespace, settled) {
            Fate::Alive { changed: false } => "alive",
            Fate::Alive { changed: true } => "changed",
            Fate::Ended(_) => "ended",
            Fate::Orphaned(_) => "orphaned",
            Fate::Wait(_) => "wait",
        };
        assert_eq!(found, expected, "{crd:?} {listed:?} {namespace:?} settled: {settled}");
    }
}
