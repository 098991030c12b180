//! The server binary.
fn main() {
    for (n, y) in rolecall::api::crds::all() {
        println!("--- {n}\n{y}");
    }
}
