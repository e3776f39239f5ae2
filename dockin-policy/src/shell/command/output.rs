//! What `find` runs, and what programs print that only transform.

use crate::shell::{
    known,
    run::{Input, Runner},
    utility,
    value::{DOWNLOADED, OUTPUT, Out, PLAIN, Value},
};

impl Runner<'_> {
    /// What `find` runs for each file.
    pub(super) fn find(&mut self, arguments: &[Value]) {
        let start = arguments
            .first()
            .and_then(Value::known)
            .filter(|it| !it.starts_with('-'));
        let prefix = start.map(str::to_owned).unwrap_or_default();
        let literal_name = arguments
            .windows(2)
            .find(|pair| pair.first().and_then(Value::known) == Some("-name"))
            .and_then(|pair| pair.get(1).and_then(Value::known))
            .filter(|name| !name.contains(['*', '?', '[']))
            .map(str::to_owned);
        let only_itself = arguments.windows(2).any(|pair| {
            matches!(pair, [option, Value::Known(depth)] if option.known() == Some("-maxdepth") && depth == "0")
        });
        let mut rest = arguments;
        while let Some((first, behind)) = rest.split_first() {
            rest = behind;
            let runs = matches!(first.known(), Some("-exec" | "-execdir" | "-ok" | "-okdir"));
            if !runs {
                continue;
            }
            let ends = |at: usize, it: &Value| match it.known() {
                Some(";") => true,
                // Behind the files alone.
                Some("+") => {
                    let before = at.checked_sub(1).and_then(|at| behind.get(at));
                    before.and_then(Value::known) == Some("{}")
                }
                _ => false,
            };
            let end = behind
                .iter()
                .enumerate()
                .position(|(at, it)| ends(at, it))
                .unwrap_or(behind.len());
            let program = behind.first().and_then(Value::known);
            if program.is_some_and(|program| program.contains("{}")) {
                // Which files are found is more than is followed.
                self.note_found_name();
            }
            if !self.spend_words(end) {
                return;
            }
            let found = || {
                let suffix = literal_name.as_ref().map(|name| format!("/{name}"));
                Value::Unknown {
                    reason: "a file that find finds",
                    prefix: prefix.clone(),
                    suffix: suffix.unwrap_or_default(),
                }
            };
            let inner = behind
                .get(..end)
                .unwrap_or_default()
                .iter()
                .map(|value| match value.known() {
                    Some("{}") if only_itself && start.is_some() => Value::Known(prefix.clone()),
                    Some(text) if text.contains("{}") => found(),
                    _ => value.clone(),
                })
                .collect();
            let stdin = std::mem::replace(&mut self.stdin, Input::Unknown(OUTPUT));
            if let Some(name) = literal_name
                .as_ref()
                .filter(|_| !prefix.is_empty() && !only_itself)
            {
                // It may be found anywhere below; most likely it stands right there.
                let inner: Vec<Value> = inner;
                let likely = inner
                    .iter()
                    .map(|value| match value {
                        Value::Unknown { .. } => {
                            Value::Known(format!("{}/{name}", prefix.trim_end_matches('/')))
                        }
                        other => other.clone(),
                    })
                    .collect();
                self.dead(|runner| runner.inner(inner));
                let _out = self.inner(likely);
            } else {
                let _out = self.inner(inner);
            }
            self.stdin = stdin;
        }
    }

    /// What a program prints that only transforms what it is given.
    pub(super) fn emulated(&mut self, name: &str, arguments: &[Value]) -> Out {
        if utility::downloads(name) {
            return Out::Unknown(DOWNLOADED);
        }
        if name == "tee" {
            let stdin = self.stdin.clone();
            let out = match stdin {
                Input::Text(text) => Out::Known(text),
                Input::Unknown(reason) => Out::Unknown(reason),
                Input::Inherited => Out::Unknown(OUTPUT),
            };
            let appends = arguments.iter().any(|it| it.known() == Some("-a"));
            let files: Vec<String> = utility::operands(name, arguments)
                .into_iter()
                .filter_map(Value::known)
                .map(str::to_owned)
                .collect();
            for file in files {
                self.write_file(&file, out.clone(), appends);
            }
            return out;
        }
        let Some(words) = arguments
            .iter()
            .map(Value::known)
            .collect::<Option<Vec<&str>>>()
        else {
            return match (&self.stdin, utility::is_filter(name)) {
                (Input::Unknown(reason), true) => Out::Unknown(reason),
                _ => Out::Unknown(OUTPUT),
            };
        };
        if matches!(name, "which" | "type")
            && let [program] = words.as_slice()
            && let Some(path) = known::path_of(program)
        {
            return Out::Known(path + "\n");
        }
        let files: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let read = |runner: &Self, path: &str| runner.file_text(&Value::Known(path.to_owned()));
        // A filter of known files is one of their text.
        let mut stdin = self.stdin.clone();
        let mut left = words.clone();
        if utility::is_filter(name)
            && let Some(last) = files.last()
            && let Out::Known(text) = read(self, last)
        {
            stdin = Input::Text(text);
            left.pop();
        }
        match stdin {
            Input::Text(text) => {
                utility::emulate(name, &left, Some(&text)).map_or(Out::Unknown(OUTPUT), |out| {
                    self.stdin = Input::Text(String::new());
                    Out::Known(out)
                })
            }
            Input::Unknown(DOWNLOADED) if utility::is_filter(name) => Out::Unknown(DOWNLOADED),
            _ if utility::prints_a_name(name, &words) => Out::Unknown(PLAIN),
            _ => utility::emulate(name, &left, None).map_or(Out::Unknown(OUTPUT), Out::Known),
        }
    }
}
