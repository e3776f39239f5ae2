//! `dockin-ipam-store`: asks etcd for `dockin-ipam`, which starts it when it has a question.

use std::process::ExitCode;

use dockin_net::io::serve_store;

fn main() -> ExitCode {
    let (mut stdin, mut stdout) = (std::io::stdin().lock(), std::io::stdout());
    match serve_store(&mut stdin, &mut stdout) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dockin-ipam-store: {error}");
            ExitCode::FAILURE
        }
    }
}
