//! The shared store asked through a program of its own: TLS costs a plugin a quarter of its time
//! before it does anything, and most calls ask nobody.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::Etcd;
use crate::{
    blocks::{Reply, Request, Store, Unanswered},
    ipam::StoreConfig,
};

/// The program, beside the one that runs.
const PROGRAM: &str = "dockin-ipam-store";
/// A page of 64 records with 64 nodes each is less.
const MAX_LINE: u64 = 4 * 1024 * 1024;

/// The program while it runs: a line with the configuration, then one with each question, and
/// each is answered with a line. All are JSON.
#[derive(Debug)]
pub(super) struct StoreProcess {
    config: StoreConfig,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl StoreProcess {
    pub(super) fn new(config: &StoreConfig) -> Self {
        Self {
            config: config.clone(),
            running: None,
        }
    }

    fn start(&self) -> std::io::Result<Running> {
        let program: PathBuf = std::env::current_exe()?.with_file_name(PROGRAM);
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| std::io::Error::other(format!("`{}`: {error}", program.display())))?;
        let gone = || std::io::Error::other("no pipe");
        let mut stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = BufReader::new(child.stdout.take().ok_or_else(gone)?);
        write_line(&mut stdin, &self.config)?;
        let stdin = Some(stdin);
        Ok(Running {
            child,
            stdin,
            stdout,
        })
    }

    fn exchange(&mut self, request: &Request) -> std::io::Result<Result<Reply, Unanswered>> {
        let running = match self.running.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let running = self.running.insert(running);
        let stdin = running.stdin.as_mut();
        write_line(
            stdin.ok_or_else(|| std::io::Error::other("no pipe"))?,
            request,
        )?;
        // The program sees to it that there is an answer in time.
        let line = read_line(&mut running.stdout)?;
        Ok(serde_json::from_slice(&line)?)
    }
}

impl Store for StoreProcess {
    fn ask(&mut self, request: &Request) -> Result<Reply, Unanswered> {
        self.exchange(request)
            .map_err(|error| Unanswered(format!("{PROGRAM}: {error}")))?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Without questions it ends.
        self.stdin = None;
        let _ = self.child.wait();
    }
}

/// What `dockin-ipam-store` does: answers the questions of `input` until there are no more.
///
/// # Errors
///
/// A line is no configuration or question, or the pipes fail.
pub fn serve_store(input: &mut impl BufRead, output: &mut impl Write) -> std::io::Result<()> {
    let config: StoreConfig = serde_json::from_slice(&read_line(input)?)?;
    let mut etcd = Etcd::new(&config);
    loop {
        let line = read_line(input)?;
        if line.is_empty() {
            return Ok(());
        }
        let request: Request = serde_json::from_slice(&line)?;
        write_line(output, &etcd.ask(&request))?;
    }
}

fn write_line(output: &mut impl Write, value: &impl serde::Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

/// A line; an empty one at the end.
fn read_line(input: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line)?;
    Ok(line)
}
