//! Where paths lead: from the working directory, over the links that are known, and over the
//! folders of `/proc` and `/dev` that lead elsewhere.

use super::{
    run::Runner,
    session::{Directory, File, Formers},
    value::{ABOVE, PLAIN, VARIABLE, Value},
};

/// Files that redirections of a line opened, by descriptor: `None` where that is not known.
pub(super) type Descriptors = std::collections::BTreeMap<u32, Option<String>>;

/// Links in one path that are followed.
const MAX_LINKS: usize = 8;
/// Bytes of a path that a system takes at most: `PATH_MAX` of Linux.
const MAX_PATH: usize = 4096;
/// Folders of a path that are walked.
const MAX_FOLDERS: usize = 128;

/// Folders that are in every image.
const SURE: &[&str] = &[
    "/", "~", "/bin", "/dev", "/etc", "/home", "/proc", "/sys", "/tmp", "/usr", "/var",
];

/// Where a path begins.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Root {
    Slash,
    /// `~`, or `~name`.
    Home(String),
    /// Where the session began.
    Start,
    /// A folder above that or above a home.
    Above,
    Unknown,
}

/// A path that is walked part by part.
#[derive(Clone, Debug)]
struct Place {
    root: Root,
    parts: Vec<String>,
    links: usize,
}

impl Place {
    fn begin(path: &str) -> (Self, &str) {
        let (root, rest) = if path.starts_with('/') {
            (Root::Slash, path)
        } else if path.starts_with('~') {
            let (home, rest) = path.split_once('/').unwrap_or((path, ""));
            (Root::Home(home.to_owned()), rest)
        } else if let Some(rest) = path.strip_prefix("?/") {
            (Root::Unknown, rest)
        } else {
            (Root::Start, path)
        };
        let place = Self {
            root,
            parts: Vec::new(),
            links: 0,
        };
        (place, rest)
    }

    fn shown(&self) -> String {
        let below = self.parts.join("/");
        match &self.root {
            Root::Slash => format!("/{below}"),
            Root::Home(home) if below.is_empty() => home.clone(),
            Root::Home(home) => format!("{home}/{below}"),
            Root::Start => below,
            Root::Above if below.is_empty() => "..".to_owned(),
            Root::Above => format!("../{below}"),
            Root::Unknown => format!("?/{below}"),
        }
    }

    fn up(&mut self) {
        // What stands there may be links: `..` is seen from where they lead.
        let is_link = match self.parts.as_slice() {
            [folder, name] => matches!(
                (folder.as_str(), name.as_str()),
                ("dev", "fd") | ("proc", "thread-self") | ("var", "run" | "lock")
            ),
            _ => false,
        };
        if self.root == Root::Slash && is_link {
            self.lose();
        }
        if self.parts.pop().is_none() {
            self.root = match &self.root {
                Root::Home(_) | Root::Start => Root::Above,
                root => root.clone(),
            };
        }
    }

    fn lose(&mut self) {
        self.root = Root::Unknown;
        self.parts.clear();
    }
}

impl Runner<'_> {
    /// A path as the working directory makes it, behind links: `?/…` where that is not known,
    /// `../…` somewhere above where the session began.
    pub(super) fn absolute(&self, path: &str) -> String {
        self.walked(path).shown()
    }

    fn walked(&self, path: &str) -> Place {
        let (mut place, rest) = Place::begin(path);
        if path.len() > MAX_PATH || path.matches('/').count() > MAX_FOLDERS {
            place.lose();
            return place;
        }
        if place.root == Root::Start {
            place = self.working_directory();
        }
        self.walk(&mut place, rest);
        place
    }

    fn working_directory(&self) -> Place {
        let path = match self.state.directory() {
            Directory::Start => "",
            Directory::Known(path) => path,
            Directory::Unknown => "?/",
        };
        let (mut place, rest) = Place::begin(path);
        // Its links were followed when it was gone to.
        for part in rest.split('/').filter(|part| !part.is_empty()) {
            if part == ".." {
                place.up();
            } else {
                place.parts.push(part.to_owned());
            }
        }
        place
    }

    fn walk(&self, place: &mut Place, path: &str) {
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => place.up(),
                part => {
                    place.parts.push(part.to_owned());
                    self.follow(place);
                }
            }
        }
    }

    /// Goes on where the last part of `place` leads, if it is a link that is known.
    fn follow(&self, place: &mut Place) {
        if place.links == MAX_LINKS {
            return place.lose();
        }
        if place.root == Root::Slash && self.follow_system(place) {
            return;
        }
        if self.state.files().next().is_none() {
            return;
        }
        let path = place.shown();
        if let Some(File::Link(to)) = self.state.file(&path)
            && *to != path
        {
            let (mut next, rest) = Place::begin(to);
            next.links = place.links + 1;
            self.walk(&mut next, rest);
            *place = next;
        }
    }

    /// The links of `/proc` and `/dev`; whether this was one.
    fn follow_system(&self, place: &mut Place) -> bool {
        // `/proc/1/task/1/fd/1`
        if place.parts.len() > 6 {
            return false;
        }
        let parts: Vec<&str> = place.parts.iter().map(String::as_str).collect();
        let is_process = |text: &str| {
            matches!(text, "self" | "thread-self")
                || !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        let (process, inside) = match parts.as_slice() {
            ["dev", "stdin"] => ("self", ["fd", "0"].as_slice()),
            ["dev", "stdout"] => ("self", ["fd", "1"].as_slice()),
            ["dev", "stderr"] => ("self", ["fd", "2"].as_slice()),
            ["dev", inside @ ..] => ("self", inside),
            ["proc", process, "task", thread, inside @ ..]
                if is_process(process) && is_process(thread) =>
            {
                (*process, inside)
            }
            ["proc", process, inside @ ..] if is_process(process) => (*process, inside),
            _ => return false,
        };
        let is_own = matches!(process, "self" | "thread-self");
        let in_dev = parts.first() == Some(&"dev");
        let next = match inside {
            ["root"] if !in_dev => Place::begin("/").0,
            ["cwd"] if is_own && !in_dev => self.working_directory(),
            ["cwd"] if !in_dev => Place::begin("?/").0,
            ["fd", number] => match self.opened(number, is_own) {
                Some(path) => {
                    let (mut opened, rest) = Place::begin(&path);
                    for part in rest.split('/').filter(|part| !part.is_empty()) {
                        opened.parts.push(part.to_owned());
                    }
                    opened
                }
                None => return true,
            },
            _ => return false,
        };
        *place = Place {
            links: place.links + 1,
            ..next
        };
        true
    }

    /// The file behind a descriptor; `None` where it is the terminal or a pipe.
    fn opened(&self, number: &str, is_own: bool) -> Option<String> {
        let unknown = || Some("?/".to_owned());
        let Ok(number) = number.parse::<u32>() else {
            return unknown();
        };
        if !is_own {
            // What a container logs goes to the output of its first process.
            return if matches!(number, 1 | 2) {
                None
            } else {
                unknown()
            };
        }
        let names = [
            format!("/dev/fd/{number}"),
            format!("/proc/self/fd/{number}"),
        ];
        match self.descriptors.get(&number) {
            Some(Some(path)) => Some(path.clone()),
            Some(None) => unknown(),
            None if number <= 2 || names.iter().any(|name| self.pipes.contains_key(name)) => None,
            // The shell's own for `>(…)`.
            None if number == 63 => None,
            None => unknown(),
        }
    }

    /// Whether a path goes over links, so that a shell that counts folders takes another way.
    fn goes_over_links(&self, path: &str) -> bool {
        self.walked(path).links > 0
            || self
                .state
                .files()
                .any(|(_, file)| matches!(file, File::Link(_)))
    }

    /// A path below the working directory, where that is known.
    pub(super) fn placed(&self, path: Value) -> Value {
        match path {
            Value::Known(path) => match self.absolute(&path) {
                placed if path.starts_with('?') => Value::Known(placed),
                placed => told(placed),
            },
            Value::Pattern(path) if path.len() > MAX_PATH => Value::unknown(VARIABLE),
            Value::Pattern(path) => {
                let placed = self.absolute(&path);
                if placed.starts_with("?/") || placed.starts_with("../") {
                    return told(placed);
                }
                if self.may_be_link(&placed) {
                    return Value::unknown(VARIABLE);
                }
                Value::Pattern(placed)
            }
            Value::Unknown {
                reason,
                prefix,
                suffix,
            } if !prefix.is_empty() && prefix.contains('/') => {
                let begins = prefix.starts_with('/');
                let placed = if begins {
                    prefix
                } else {
                    self.absolute(&prefix)
                };
                // Some process, or some descriptor, and where that leads.
                if reason == PLAIN
                    && suffix.contains('/')
                    && (placed.starts_with("/proc/") || placed.starts_with("/dev/"))
                {
                    return Value::Unknown {
                        reason: VARIABLE,
                        prefix: String::new(),
                        suffix,
                    };
                }
                Value::Unknown {
                    reason,
                    prefix: placed,
                    suffix,
                }
            }
            other => other,
        }
    }

    /// Paths in each folder that the shell may be in.
    pub(super) fn all_placed(&self, paths: Vec<Value>) -> Vec<Value> {
        let mut all = Vec::with_capacity(paths.len());
        for path in paths {
            let stayed: Vec<Value> = match &path {
                Value::Known(path) => self.also(path).map(told).collect(),
                Value::Pattern(path) => self.also(path).map(Value::Pattern).collect(),
                Value::Unknown {
                    reason,
                    prefix,
                    suffix,
                } => {
                    let unknown = |prefix| Value::Unknown {
                        reason,
                        prefix,
                        suffix: suffix.clone(),
                    };
                    self.also(prefix).map(unknown).collect()
                }
            };
            all.push(path);
            all.extend(stayed);
        }
        all.into_iter().map(|path| self.placed(path)).collect()
    }

    /// What a relative path is in the folders that the shell may have stayed in.
    fn also(&self, path: &str) -> impl Iterator<Item = String> {
        let is_relative = !path.is_empty() && Place::begin(path).0.root == Root::Start;
        let formers = if is_relative {
            self.state.formers()
        } else {
            &[]
        };
        formers
            .iter()
            .map(move |former| self.absolute(&format!("{former}/{path}")))
    }

    /// The file that a path names, if the session knows what it is; `Unknown` where that depends on
    /// whether a folder could be gone to.
    pub(super) fn file_at(&self, path: &str) -> Option<&File> {
        let file = self.state.file(&self.absolute(path));
        let is_same = self.also(path).all(|other| self.state.file(&other) == file);
        if is_same { file } else { Some(&File::Unknown) }
    }

    /// Whether a path with wildcards may go over a link.
    fn may_be_link(&self, path: &str) -> bool {
        let goes = |link: &str| {
            let parts = path.split('/');
            let mut named = link.split('/');
            let alike = parts.clone().zip(named.by_ref()).all(|(wild, plain)| {
                wild == plain
                    || wild.contains(['*', '?', '[', '\\'])
                        && super::matches(wild, plain) != Some(false)
            });
            alike && path.split('/').count() >= link.split('/').count()
        };
        let in_proc = path.strip_prefix("/proc/").is_some_and(|rest| {
            let mut parts = rest.split('/').skip(1).peekable();
            parts.peek().is_some()
                && parts.any(|part| {
                    matches!(part, "cwd" | "root" | "fd" | "task")
                        || part.contains(['*', '?', '[', '\\'])
                })
        });
        in_proc
            || self
                .state
                .files()
                .any(|(link, file)| matches!(file, File::Link(_)) && goes(link))
    }

    /// Goes to a folder; to one that is not known without a path.
    pub(super) fn change_directory(&mut self, path: Option<&str>) {
        if path.is_some_and(|path| path.starts_with("/proc/") && self.walked(path).links > 0) {
            // Later it may go up from there.
            let root = File::Link("/".to_owned());
            let _kept = self.state.set_file("/proc/self/root", Some(root));
        }
        let formers = self.formers_behind(path);
        let directory = match path {
            // A shell goes up from where it came, and not from where links led it.
            Some(path)
                if path.split('/').any(|part| part == "..") && self.goes_over_links(path) =>
            {
                Directory::Unknown
            }
            Some(path) => match self.absolute(path) {
                path if path.starts_with('?') || path.matches('/').count() > MAX_FOLDERS => {
                    Directory::Unknown
                }
                path if path.is_empty() => Directory::Start,
                path => Directory::Known(path),
            },
            None => Directory::Unknown,
        };
        match directory {
            Directory::Unknown => self.state.set_directory(directory),
            directory => self.state.move_to(directory, formers),
        }
    }

    /// Where the shell may be in place of the folder that it is told to go to.
    fn formers_behind(&self, path: Option<&str>) -> Formers {
        let Some(path) = path else {
            return Formers::default();
        };
        let arrived = Formers::bounded(self.also(path).collect());
        let mut all = arrived.clone();
        let is_sure = SURE.contains(&path) || path.split('/').all(|part| part == "..");
        if !is_sure {
            all.extend_from_slice(self.state.formers());
            all.extend(self.state.directory().changed());
            all = Formers::bounded(all);
        }
        Formers {
            all,
            arrived: Some(arrived),
        }
    }

    /// Remembers which file a redirection opened, for those that name its descriptor as a file.
    pub(super) fn opens(&mut self, number: u32, path: &Value) {
        let path = match self.placed(path.clone()) {
            Value::Known(path) => Some(path),
            Value::Unknown {
                reason: ABOVE,
                suffix,
                ..
            } => Some(format!("..{suffix}")),
            _ => None,
        };
        self.descriptors.insert(number, path);
    }

    /// The same for a descriptor that becomes another one: `3<&4`.
    pub(super) fn duplicates(&mut self, number: u32, other: Option<&str>) {
        let file = match other.map(str::parse::<u32>) {
            Some(Ok(other)) => match self.descriptors.get(&other) {
                Some(file) => Some(file.clone()),
                None if other <= 2 => None,
                None => Some(None),
            },
            _ if other == Some("-") => None,
            _ => Some(None),
        };
        match file {
            Some(file) => self.descriptors.insert(number, file),
            None => self.descriptors.remove(&number),
        };
    }
}

/// What a path from [`Runner::absolute`] says.
fn told(path: String) -> Value {
    let unknown = |reason, suffix: &str| Value::Unknown {
        reason,
        prefix: String::new(),
        suffix: suffix.to_owned(),
    };
    match path.strip_prefix("?").or_else(|| path.strip_prefix("..")) {
        Some(rest) if path.starts_with('?') => unknown(VARIABLE, rest),
        Some(rest) if rest.is_empty() || rest.starts_with('/') => unknown(ABOVE, rest),
        _ => Value::Known(path),
    }
}
