use std::{
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use pty_process::{Size, blocking};

use crate::eventually;

/// A program on a terminal of its own, typed into and read as a person would.
pub struct Pty {
    child: Child,
    master: Arc<blocking::Pty>,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Starts the program, arguments and environment of `command` on a terminal of 80 by 24.
    ///
    /// # Panics
    ///
    /// No terminal can be had, or the program does not start.
    pub fn spawn(command: &Command) -> Self {
        let (master, slave) = blocking::open().expect("a terminal");
        master.resize(Size::new(24, 80)).expect("its size");
        let mut program = blocking::Command::new(PathBuf::from(command.get_program()));
        program = program.args(command.get_args());
        for (name, value) in command.get_envs() {
            program = match value {
                Some(value) => program.env(name, value),
                None => program.env_remove(name),
            };
        }
        let child = program
            .env("TERM", "xterm")
            .spawn(slave)
            .expect("the program");
        let master = Arc::new(master);
        let output = Arc::new(Mutex::new(Vec::new()));
        let (reader, collected) = (Arc::clone(&master), Arc::clone(&output));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading fails when the program has gone.
            while let Ok(count @ 1..) = (&*reader).read(&mut buffer) {
                let mut output = collected.lock().unwrap_or_else(PoisonError::into_inner);
                output.extend_from_slice(buffer.get(..count).unwrap_or_default());
            }
        });
        Self {
            child,
            master,
            output,
        }
    }

    /// Types `text`.
    ///
    /// # Panics
    ///
    /// The program is gone.
    pub fn send(&mut self, text: &str) {
        (&*self.master)
            .write_all(text.as_bytes())
            .expect("the program reads its terminal");
    }

    /// All that was printed so far.
    #[must_use]
    pub fn screen(&self) -> String {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Waits until `text` was printed behind what was there at `from` bytes; gives the length
    /// then.
    ///
    /// # Panics
    ///
    /// It is not printed within 15 s; with all that was.
    pub fn expect(&self, from: usize, text: &str) -> usize {
        let seen = eventually(Duration::from_secs(40), || {
            self.screen()
                .get(from..)
                .is_some_and(|new| new.contains(text))
        });
        assert!(seen, "`{text}` is not on the screen:\n{}", self.screen());
        self.screen().len()
    }

    /// Another size for the terminal.
    ///
    /// # Panics
    ///
    /// The terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.master
            .resize(Size::new(rows, columns))
            .expect("another size");
    }

    /// The program's exit code once it ends; `None` when a signal ended it or 15 s passed.
    pub fn exit_code(&mut self) -> Option<i32> {
        let mut code = None;
        eventually(Duration::from_secs(60), || match self.child.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                true
            }
            _ => false,
        });
        code
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills the program.
    pub fn kill(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.kill();
    }
}
