//! The kubectl plugin's binary: arguments in, text out. Nothing is decided here.

use std::process::ExitCode;

use clap::Parser;
use rolecall::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Cli::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let failure = ExitCode::from(arguments.failure());
    match cli::run(arguments).await {
        Ok(said) => {
            print(&said.text);
            ExitCode::from(said.code)
        }
        Err(error) => {
            let mut text = format!("error: {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(next) = source {
                text.push_str(&format!(": {next}"));
                source = next.source();
            }
            eprintln!("{text}");
            failure
        }
    }
}

// A reader that ends early, such as `head`, is no error.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(if text.ends_with('\n') { b"" } else { b"\n" }));
}
