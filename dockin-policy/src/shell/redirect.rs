//! Redirections: what is read, what is written, and where output goes.

use super::{
    Dialect,
    ast::{Heredoc, Redirect, RedirectKind},
    expand::Mode,
    lexer::without_tabs,
    run::{Certainty, Input, Resolved, Runner},
    session::{File, Variable},
    value::{OUTPUT, Out, Value},
};

/// What redirections do to a command.
#[derive(Debug, Default)]
pub(super) struct Streams {
    pub(super) stdin: Option<Input>,
    pub(super) writes: Vec<Value>,
    pub(super) reads: Vec<Value>,
    /// A file may not be there, or may not be written.
    pub(super) may_fail: bool,
    stdout: Sink,
}

/// Where standard output goes.
#[derive(Debug, Default)]
enum Sink {
    #[default]
    Through,
    Nowhere,
    File {
        path: Option<String>,
        appends: bool,
    },
}

impl Streams {
    /// Files that are written, and nothing else.
    pub(super) fn writing(writes: Vec<Value>) -> Self {
        Self {
            writes,
            ..Self::default()
        }
    }
}

/// Here-documents of a line that are kept, to know a text by that somebody wrote.
const MAX_WRITTEN: usize = 32;
/// Bytes of one of them.
const MAX_BODY: usize = 16 * 1024;

impl Runner<'_> {
    pub(super) fn redirects(
        &mut self,
        redirects: &[Redirect<'_>],
        texts: &[Heredoc<'_>],
    ) -> Streams {
        let mut streams = Streams::default();
        for redirect in redirects {
            self.redirected(redirect, texts, &mut streams);
        }
        streams
    }

    fn redirected(
        &mut self,
        redirect: &Redirect<'_>,
        texts: &[Heredoc<'_>],
        streams: &mut Streams,
    ) {
        if let RedirectKind::Heredoc(_) | RedirectKind::HereString = redirect.kind {
            self.descriptors.remove(&redirect.descriptor.unwrap_or(0));
        }
        if let RedirectKind::Heredoc(number) = redirect.kind {
            let text = texts.get(number).copied().unwrap_or_default();
            if matches!(redirect.descriptor, None | Some(0)) {
                streams.stdin = Some(self.heredoc(text));
            } else {
                let _text = self.heredoc(text);
            }
            return;
        }
        if redirect.kind == RedirectKind::HereString {
            let text = self.text_of(redirect.target.raw, Mode::Word);
            if matches!(redirect.descriptor, None | Some(0)) {
                streams.stdin =
                    Some(text.map_or(Input::Unknown(OUTPUT), |text| Input::Text(text + "\n")));
            }
            return;
        }
        let was_absent = std::mem::take(&mut self.absent);
        let target = self.whole(redirect.target.raw, Mode::Word);
        let is_absent = std::mem::replace(&mut self.absent, was_absent);
        // The environment may have what is not set here.
        let target = if is_absent && !self.inherits {
            self.dead(|runner| {
                runner.inherits = true;
                let target = runner.whole(redirect.target.raw, Mode::Word);
                runner.inherits = false;
                target
            })
        } else {
            target
        };
        if redirect.operator.first() == Some(&b'{')
            && let Some(end) = redirect.operator.iter().position(|byte| *byte == b'}')
        {
            // The shell writes the descriptor's number there: 10, when it is the first.
            let name = super::expand::lossy(redirect.operator.get(1..end).unwrap_or_default());
            self.state.set(&name, Variable::Text("10".to_owned()));
        }
        if self.dialect() == Dialect::Zsh && redirect.target.raw.contains(&b'{') {
            // It writes to all that braces become.
            if redirect.target.raw.contains(&b'$') {
                self.soft_unknown(OUTPUT);
            } else {
                let all = self.words(std::slice::from_ref(&redirect.target));
                if redirect.kind != RedirectKind::Read {
                    streams.writes.extend(all);
                }
            }
        }
        let known = target.known().map(str::to_owned);
        self.note_descriptor(redirect, &target);
        let is_sure = known.as_deref().is_some_and(|text| {
            matches!(text, "/dev/null" | "-" | "1" | "2")
                || text == "0" && redirect.kind == RedirectKind::DuplicateIn
        });
        streams.may_fail |= !is_sure;
        match redirect.kind {
            RedirectKind::Read => {
                let input = match self.file_text(&target) {
                    Out::Known(text) => Input::Text(text),
                    Out::Unknown(reason) => Input::Unknown(reason),
                };
                if matches!(redirect.descriptor, None | Some(0)) {
                    streams.stdin = Some(match known.as_deref() {
                        Some("/dev/null") => Input::Text(String::new()),
                        Some("/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0") => self.stdin.clone(),
                        _ => input,
                    });
                }
                if known.as_deref().is_some_and(|path| {
                    path.starts_with("/dev/tcp/") || path.starts_with("/dev/udp/")
                }) {
                    // Reading from there opens a connection.
                    streams.writes.push(target.clone());
                }
                streams.reads.push(target);
            }
            RedirectKind::DuplicateIn | RedirectKind::DuplicateOut => {
                let descriptor = known.as_deref().is_some_and(|text| {
                    !text.is_empty()
                        && text
                            .bytes()
                            .all(|byte| byte.is_ascii_digit() || byte == b'-')
                });
                let out = redirect.kind == RedirectKind::DuplicateOut;
                if !descriptor && out {
                    // `>&file` writes both.
                    self.sink(known, false, streams);
                    streams.writes.push(target);
                } else if out
                    && matches!(redirect.descriptor, None | Some(1))
                    && known.as_deref() != Some("1")
                {
                    streams.stdout = Sink::Nowhere;
                } else if !out
                    && matches!(redirect.descriptor, None | Some(0))
                    && known.as_deref() != Some("0")
                {
                    streams.stdin = Some(Input::Unknown(OUTPUT));
                }
            }
            RedirectKind::Write
            | RedirectKind::Append
            | RedirectKind::ReadWrite
            | RedirectKind::WriteBoth => {
                let is_followed = matches!(redirect.descriptor, None | Some(1))
                    && redirect.kind != RedirectKind::ReadWrite;
                if let Some(path) = known.as_deref().filter(|path| !path.starts_with("/dev/"))
                    && !is_followed
                {
                    // What comes there by another descriptor is not followed.
                    self.write_file(path, Out::Unknown(OUTPUT), true);
                }
                if redirect.kind == RedirectKind::ReadWrite {
                    if matches!(redirect.descriptor, None | Some(0)) {
                        streams.stdin = Some(match self.file_text(&target) {
                            Out::Known(text) => Input::Text(text),
                            Out::Unknown(reason) => Input::Unknown(reason),
                        });
                    }
                } else if matches!(redirect.descriptor, None | Some(1)) {
                    self.sink(known, redirect.kind == RedirectKind::Append, streams);
                }
                streams.writes.push(target);
            }
            RedirectKind::HereString | RedirectKind::Heredoc(_) => {}
        }
    }

    /// What the redirection leaves behind its descriptor.
    fn note_descriptor(&mut self, redirect: &Redirect<'_>, target: &Value) {
        let number = redirect.descriptor;
        match redirect.kind {
            RedirectKind::Read | RedirectKind::ReadWrite => self.opens(number.unwrap_or(0), target),
            RedirectKind::DuplicateIn => self.duplicates(number.unwrap_or(0), target.known()),
            RedirectKind::DuplicateOut => self.duplicates(number.unwrap_or(1), target.known()),
            RedirectKind::Write | RedirectKind::Append | RedirectKind::WriteBoth => {
                self.opens(number.unwrap_or(1), target);
            }
            RedirectKind::HereString | RedirectKind::Heredoc(_) => {}
        }
    }

    fn sink(&mut self, path: Option<String>, appends: bool, streams: &mut Streams) {
        // zsh writes to all of several files.
        if self.dialect() == Dialect::Zsh
            && let Sink::File {
                path: Some(before), ..
            } = &streams.stdout
        {
            let before = self.absolute(before);
            let _kept = self.state.set_file(&before, Some(File::Unknown));
        }
        streams.stdout = match path.as_deref() {
            Some("/dev/null" | "/dev/stderr" | "/dev/tty") => Sink::Nowhere,
            Some("/dev/stdout" | "/dev/fd/1") => Sink::Through,
            _ => Sink::File { path, appends },
        };
    }

    fn heredoc(&mut self, heredoc: Heredoc<'_>) -> Input {
        let body = if heredoc.strips_tabs {
            let mut body = Vec::with_capacity(heredoc.body.len());
            for line in heredoc.body.split_inclusive(|byte| *byte == b'\n') {
                body.extend_from_slice(without_tabs(line));
            }
            std::borrow::Cow::Owned(body)
        } else {
            std::borrow::Cow::Borrowed(heredoc.body)
        };
        let is_written = heredoc.quoted || memchr::memchr3(b'$', b'`', b'\\', &body).is_none();
        if is_written && self.written.len() < MAX_WRITTEN && body.len() <= MAX_BODY {
            self.written
                .push(String::from_utf8_lossy(&body).into_owned());
        }
        if heredoc.quoted {
            return Input::Text(String::from_utf8_lossy(&body).into_owned());
        }
        self.text_of(&body, Mode::Text)
            .map_or(Input::Unknown(OUTPUT), Input::Text)
    }

    /// Takes what a command prints to where it goes; what is left is printed.
    pub(super) fn deliver(&mut self, out: Out, streams: &Streams) -> Out {
        match &streams.stdout {
            Sink::Through => out,
            Sink::Nowhere => Out::nothing(),
            Sink::File { path, appends } => {
                if let Some(path) = path {
                    self.write_file(path, out, *appends);
                }
                Out::nothing()
            }
        }
    }

    /// Files that are written or read with no program of their own to judge.
    pub(super) fn stand_alone(&mut self, streams: &mut Streams) {
        let (reads, writes) = self.taken(streams);
        if writes.is_empty() && reads.is_empty() {
            return;
        }
        let span = self.span.clone();
        self.found(Resolved {
            directory: self.state.runs_in(),
            argv: Vec::new(),
            name: String::new(),
            writes,
            alters: Vec::new(),
            reads,
            span,
            certainty: self.certainty,
            is_program: false,
        });
    }

    /// The files of `streams`, below the working directory: what is read, what is written.
    pub(super) fn taken(&self, streams: &mut Streams) -> (Vec<Value>, Vec<Value>) {
        let place = |paths: &mut Vec<Value>| self.all_placed(std::mem::take(paths));
        (place(&mut streams.reads), place(&mut streams.writes))
    }

    pub(super) fn write_file(&mut self, path: &str, out: Out, appends: bool) {
        if self.certainty >= Certainty::Latent {
            return;
        }
        let path = self.absolute(path);
        let before = if appends {
            match self.state.file(&path) {
                Some(File::Text(text)) => Out::Known(text.clone()),
                Some(_) => Out::Unknown(OUTPUT),
                None => Out::nothing(),
            }
        } else {
            Out::nothing()
        };
        let mut text = before;
        text.then(out);
        let file = match (text, self.state.file(&path)) {
            (Out::Unknown(_), _) => File::Unknown,
            // A program, or where a link leads, may be another's.
            (_, Some(File::Program(_) | File::Link(_) | File::Unknown)) => File::Unknown,
            (_, Some(_)) if self.state.keeps_files() => File::Unknown,
            (Out::Known(text), _) => File::Text(text),
        };
        if !self.state.set_file(&path, Some(file)) {
            let _kept = self.state.set_file(&path, Some(File::Unknown));
        }
    }

    /// What a file holds, when this session wrote it or it is a pipe.
    pub(super) fn file_text(&self, path: &Value) -> Out {
        let Some(path) = path.known() else {
            return Out::Unknown(OUTPUT);
        };
        if let Some(out) = self.pipes.get(path) {
            return out.clone();
        }
        if path == "/dev/null" {
            return Out::nothing();
        }
        match self.file_at(path) {
            Some(File::Text(text)) => Out::Known(text.clone()),
            _ => Out::Unknown("what a file holds is not known"),
        }
    }
}
