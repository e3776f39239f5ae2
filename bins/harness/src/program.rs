use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::eventually;

/// What a program finds on its standard input.
#[derive(Clone, Copy, Debug)]
// Exhaustive: what a test can want.
pub enum Input<'a> {
    /// The end, at once.
    Nothing,
    /// These bytes, then the end.
    Bytes(&'a [u8]),
    /// Zeros without end, as fast as they are taken.
    Endless,
    /// Nothing, and no end either, until [`Program::close`].
    Held,
}

/// A program with pipes for standard input, output and error. It is killed when its owner goes.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Collected,
    stderr: Collected,
}

/// How a program ended, and what it said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finished {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, as text.
    pub stderr: String,
}

impl Finished {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Program {
    /// Starts `command`.
    ///
    /// # Panics
    ///
    /// It cannot be started.
    pub fn start(command: &mut Command, input: Input<'_>) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut stdin = child.stdin.take();
        match input {
            Input::Nothing => stdin = None,
            Input::Held => {}
            Input::Bytes(bytes) => feed(stdin.take(), Some(bytes.to_vec())),
            Input::Endless => feed(stdin.take(), None),
        }
        let stdout = Collected::from(child.stdout.take().expect("piped"));
        let stderr = Collected::from(child.stderr.take().expect("piped"));
        Self {
            name,
            child,
            stdin,
            stdout,
            stderr,
        }
    }

    /// Writes to its standard input, which is [held](Input::Held).
    ///
    /// # Panics
    ///
    /// It does not read any more.
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self
            .stdin
            .as_mut()
            .expect("standard input that is held open");
        stdin
            .write_all(bytes)
            .and_then(|()| stdin.flush())
            .expect("somebody who reads");
    }

    /// Ends its standard input.
    pub fn close(&mut self) {
        self.stdin = None;
    }

    /// What it wrote to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.bytes()).into_owned()
    }

    /// What it wrote to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.bytes()).into_owned()
    }

    /// Waits until its standard output has `text`.
    ///
    /// # Panics
    ///
    /// It has not within 20 s.
    pub fn expect(&self, text: &str) {
        let seen = eventually(Duration::from_secs(40), || self.stdout().contains(text));
        let (name, stdout, stderr) = (&self.name, self.stdout(), self.stderr());
        assert!(
            seen,
            "{name} did not print `{text}`, but:\n{stdout}\n{stderr}"
        );
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub fn kill(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// It has not ended within `limit`: a hang, with what it said until then.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let begun = Instant::now();
        let mut code = None;
        let ended = eventually(limit, || match self.child.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                true
            }
            _ => false,
        });
        let left = limit
            .saturating_sub(begun.elapsed())
            .max(Duration::from_secs(5));
        let ended = ended && self.stdout.wait(left) && self.stderr.wait(left);
        let (name, stdout, stderr) = (&self.name, self.stdout.bytes(), self.stderr());
        assert!(
            ended,
            "{name} hangs after {limit:?}; it wrote {} bytes: {}\n{stderr}",
            stdout.len(),
            String::from_utf8_lossy(stdout.get(..stdout.len().min(2000)).unwrap_or_default()),
        );
        Finished {
            code,
            stdout,
            stderr,
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `command` to its end; one that does not end within `limit` is a failure.
///
/// # Panics
///
/// It cannot be started, or hangs.
pub fn finish(command: &mut Command, input: Input<'_>, limit: Duration) -> Finished {
    Program::start(command, input).finish(limit)
}

/// What a thread has read from a pipe so far.
#[derive(Clone, Debug, Default)]
struct Collected(Arc<Mutex<(Vec<u8>, bool)>>);

impl Collected {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let collected = Self::default();
        let theirs = collected.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut state = theirs.0.lock().unwrap_or_else(PoisonError::into_inner);
                state
                    .0
                    .extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
            theirs.0.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        });
        collected
    }

    fn bytes(&self) -> Vec<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }

    fn wait(&self, limit: Duration) -> bool {
        eventually(limit, || {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).1
        })
    }
}

fn feed(stdin: Option<ChildStdin>, bytes: Option<Vec<u8>>) {
    let Some(mut stdin) = stdin else { return };
    thread::spawn(move || match bytes {
        // Who ends early does not read it all; the test sees that elsewhere.
        Some(bytes) => drop(stdin.write_all(&bytes)),
        None => {
            let zeros = vec![0; 64 * 1024];
            while stdin.write_all(&zeros).is_ok() {}
        }
    });
}
