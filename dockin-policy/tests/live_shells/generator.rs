//! Lines by chance: the grammar of what people and attackers write, with little of each.

use dockin_policy::Dialect;

use crate::sandbox::STAND_INS;

pub(crate) struct Generator {
    state: u64,
    dialect: Dialect,
    depth: usize,
    functions: usize,
}

/// Nesting of commands in commands.
const MAX_DEPTH: usize = 4;

impl Generator {
    pub(crate) fn new(seed: u64, dialect: Dialect) -> Self {
        Self {
            state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03,
            dialect,
            depth: 0,
            functions: 0,
        }
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn is_rich(&self) -> bool {
        matches!(self.dialect, Dialect::Bash | Dialect::Zsh)
    }

    /// A line of one to four commands.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        for _ in 0..self.below(3) {
            line.push_str(&self.setup());
            line.push_str(self.one(&["; ", "\n"]));
        }
        let most = 1 + self.below(3);
        line.push_str(&self.list(most));
        line
    }

    /// What words and commands may refer to.
    fn setup(&mut self) -> String {
        let word = self.plain();
        let quoted = self.quoted_text();
        let name = self.one(STAND_INS);
        let other = self.one(STAND_INS);
        match self.below(26) {
            6 => format!("alias {name}='command {other} aliased'\n:"),
            7 => format!("{name}() {{ command {other} called \"$@\"; }}"),
            8 => format!("readonly x={quoted}"),
            9 => "export x".to_owned(),
            10 => format!("IFS=,; x=a,b,{word}"),
            11 => "unset x y".to_owned(),
            12 => "set -f".to_owned(),
            13 => "set -a; x=all".to_owned(),
            14 => "set -e".to_owned(),
            15 => format!("{other} && x={quoted}"),
            16 => format!("{other} || {name}() {{ command {other} maybe; }}"),
            17 => format!("cd sub && x={quoted}"),
            18 => format!("cd none && x={quoted}"),
            19 if self.is_rich() => format!("declare -A map=([k]={word})"),
            20 if self.is_rich() => format!("printf -v x '%s-%s' {word} {word}"),
            21 => "x=y y=second".to_owned(),
            22 => "shift".to_owned(),
            23 => format!("unset -f {name}; unalias {name} 2>/dev/null"),
            24 => format!("(x={quoted}; export x)"),
            25 if self.dialect == Dialect::Bash => {
                format!("{name}() {{ command {other} exported; }}; export -f {name}")
            }
            0 => format!("set -- {word} {quoted}"),
            1 => format!("x={quoted}"),
            2 => format!("x={quoted}; y=$x"),
            3 if self.is_rich() => format!("arr=({word} {quoted} z)"),
            4 => format!("x={}; export y={word}", self.one(STAND_INS)),
            _ => format!("y={word} x={quoted}"),
        }
    }

    fn list(&mut self, most: usize) -> String {
        let count = 1 + self.below(most);
        let mut text = self.item();
        for _ in 1..count {
            let join = self.one(&["; ", "; ", " && ", " || ", "\n", " & wait; "]);
            text = format!("{text}{join}{}", self.item());
        }
        text
    }

    fn item(&mut self) -> String {
        let negated = self.below(12) == 0;
        let pipeline = if self.below(5) == 0 {
            format!("{} | {}", self.command(), self.command())
        } else {
            self.command()
        };
        if negated {
            format!("! {pipeline}")
        } else {
            pipeline
        }
    }

    fn command(&mut self) -> String {
        if self.depth >= MAX_DEPTH {
            return self.simple();
        }
        self.depth += 1;
        let text = match self.below(50) {
            22 => format!(
                "until {}; do {}; break; done",
                self.condition(),
                self.list(1)
            ),
            23 => {
                let body = self.list(1);
                let leave = self.one(&["break", "continue", "return", "exit"]);
                let condition = self.condition();
                format!(
                    "for x in a b c; do {body}; {condition} && {leave}; {}; done",
                    self.simple()
                )
            }
            24 => {
                self.functions += 1;
                let name = format!("f{}", self.functions);
                let body = self.list(1);
                let leave = self.one(&["return", "return 1", "return 0", "exit", "local x=in"]);
                let then = self.one(&["&&", "||", ";"]);
                format!(
                    "{name}() {{ {body}; {leave}; {}; }}; {name} {then} {}",
                    self.simple(),
                    self.simple()
                )
            }
            25 if self.is_rich() => {
                let inside = self.simple();
                format!("{} <({inside})", self.one(STAND_INS))
            }
            26 if self.is_rich() => format!(
                "read -r a b <<< {}; {} \"$a\" $b",
                self.word(),
                self.one(STAND_INS)
            ),
            27 => format!("x={} {}", self.word_unsplit(), self.child()),
            28 => format!("x={}; {}", self.word_unsplit(), self.child()),
            29 => format!("export x={}; {}", self.word_unsplit(), self.child()),
            30 => format!("env x={} {}", self.plain(), self.child()),
            31 => {
                let name = self.one(STAND_INS);
                format!(
                    "cat <<E | xargs {name}\n{} {} $((1+1))\nE\n:",
                    self.word(),
                    self.word()
                )
            }
            32 => {
                self.functions += 1;
                let name = format!("f{}", self.functions);
                format!(
                    "{name}() {{ dash <<E; }}\n{}\nE\n{name} a",
                    self.one(STAND_INS)
                )
            }
            33 => format!(
                "x={} x={} {} $x",
                self.plain(),
                self.plain(),
                self.one(STAND_INS)
            ),
            34 => format!("v=$({}) && {}", self.simple(), self.simple()),
            35 => format!("{} & {}; wait", self.simple(), self.simple()),
            36 if self.is_rich() => format!(
                "[[ {} {} {} ]] && {}",
                self.word(),
                self.one(&["==", "!=", "<", "=~", "-eq"]),
                self.word(),
                self.simple()
            ),
            37 => format!("( exit {}; ) && {}", self.below(2), self.simple()),
            38 => format!("echo {} >f; . ./f; dash f", self.one(STAND_INS)),
            39 => format!(
                "{} >f; read -r x <f; {} \"$x\"",
                self.simple(),
                self.one(STAND_INS)
            ),
            40 => format!("eval {} {}", self.word(), self.simple()),
            41 => format!(
                "while read -r l; do {} \"$l\"; done <<E\n{}\nE\n:",
                self.one(STAND_INS),
                self.quoted_text()
            ),
            0 => format!("if {}; then {}; fi", self.list(1), self.list(2)),
            1 => format!(
                "if {}; then {}; else {}; fi",
                self.condition(),
                self.list(1),
                self.list(1)
            ),
            2 => {
                let words = self.words(3);
                format!("for x in {words}; do {}; done", self.list(2))
            }
            3 => {
                let body = self.list(1);
                self.functions += 1;
                let i = format!("i{}", self.functions);
                format!("{i}=0; while [ ${i} -lt 2 ]; do {body}; {i}=$(({i}+1)); done")
            }
            4 => format!(
                "case {} in {}) {};; *) {};; esac",
                self.word(),
                self.one(&["a", "a*", "*.txt", "-n|b", "\"$x\"", "[a-c]*"]),
                self.list(1),
                self.list(1)
            ),
            5 => format!("{{ {}; }}", self.list(2)),
            6 => format!("( {} )", self.list(2)),
            7 => {
                self.functions += 1;
                let name = format!("f{}", self.functions);
                let body = self.list(2);
                let arguments = self.words(2);
                format!("{name}() {{ {body}; }}; {name} {arguments}")
            }
            8 => {
                let inside = self.list(1);
                format!("eval {}", self.quote(&inside))
            }
            9 => {
                let shell = if self.is_rich() {
                    self.one(&["sh", "bash", "dash"])
                } else {
                    "dash"
                };
                let before = std::mem::replace(&mut self.dialect, Dialect::Sh);
                let inside = self.list(1);
                self.dialect = before;
                let arguments = self.words(2);
                format!("{shell} -c {} {arguments}", self.quote(&inside))
            }
            10 => {
                let before = std::mem::replace(&mut self.dialect, Dialect::Sh);
                let inside = self.simple();
                self.dialect = before;
                let mark = self.one(&["E", "'E'", "\"E\"", "\\E"]);
                format!("dash <<{mark}\n{inside}\nE\n:")
            }
            11 => {
                let wrapper = self.wrapper();
                let name = self.one(STAND_INS);
                format!("{wrapper} {name} {}", self.words(2))
            }
            12 => {
                let words = self.words(3);
                format!(
                    "printf '%s\\n' {words} | xargs {} {}",
                    self.xargs(),
                    self.one(STAND_INS)
                )
            }
            13 => format!(
                "echo {} | {} | xargs {}",
                self.quoted_text(),
                self.filter(),
                self.one(STAND_INS)
            ),
            14 => {
                let redirect = self.redirect();
                format!("{{ {}; }} {redirect}", self.list(1))
            }
            15 => format!(
                "echo {} | while read -r a b; do {} \"$a\" $b; done",
                self.words(2),
                self.one(STAND_INS)
            ),
            16 => format!("echo {} | dash", self.one(STAND_INS)),
            17 => format!("{} || {}", self.condition(), self.simple()),
            18 => format!("{} && {}", self.condition(), self.simple()),
            19 => format!("trap {} EXIT", self.quote("kubectl end")),
            20 => format!("exec {} {}", self.one(STAND_INS), self.words(2)),
            21 => format!(
                "find . -name {} -exec {} {{}} {}",
                self.one(&["a.txt", "'*.txt'", "nothing"]),
                self.one(STAND_INS),
                self.one(&["\\;", "+", "';'"])
            ),
            _ => self.simple(),
        };
        self.depth -= 1;
        text
    }

    /// A shell, and what it does with what it inherits.
    fn child(&mut self) -> String {
        let shell = match self.dialect {
            Dialect::Bash => self.one(&["bash", "sh", "dash", "timeout 5 bash", "env bash"]),
            Dialect::Zsh => self.one(&["zsh -f", "sh", "dash"]),
            _ => "dash",
        };
        let name = self.one(STAND_INS);
        let word = self.one(&["$x", "\"$x\"", "${x:-none}", "${x+set}", "$1", "$0", "$#"]);
        let inside = format!("{name} {word}");
        format!("{shell} -c {} {}", self.quote(&inside), self.words(2))
    }

    fn condition(&mut self) -> String {
        let name = self.one(STAND_INS);
        match self.below(14) {
            0 => "true".to_owned(),
            1 => "false".to_owned(),
            2 => format!("[ -n {} ]", self.quoted_text()),
            3 => format!("[ {} = {} ]", self.quoted_text(), self.quoted_text()),
            4 => format!("test -f {}", self.one(&["a.txt", "none", "sub"])),
            5 if self.is_rich() => format!("[[ {} == a* ]]", self.quoted_text()),
            6 if self.is_rich() => format!("(( {} > 1 ))", self.below(3)),
            7 => "cd sub".to_owned(),
            8 => "cd none".to_owned(),
            9 => "echo x > none/file".to_owned(),
            10 => "read -r x".to_owned(),
            11 => "command -v none".to_owned(),
            12 => ": < none".to_owned(),
            _ => format!("{name} {}", self.word()),
        }
    }

    fn wrapper(&mut self) -> String {
        let plain = self.plain();
        match self.below(14) {
            0 => "env".to_owned(),
            1 => format!("env V={plain}"),
            2 => "env -u HOME".to_owned(),
            3 => "nohup".to_owned(),
            4 => "timeout 5".to_owned(),
            5 => "timeout -s KILL 5s".to_owned(),
            6 => "nice -n 1".to_owned(),
            7 => "nice".to_owned(),
            8 => "setsid".to_owned(),
            9 => "command".to_owned(),
            10 if self.is_rich() => "command -p --".to_owned(),
            11 => "env timeout -k 1 5 nice".to_owned(),
            12 => "stdbuf -oL".to_owned(),
            _ => format!("V={plain} command"),
        }
        .replace("command -p --", "command")
    }

    fn xargs(&mut self) -> &'static str {
        self.one(&[
            "", "-n 1", "-n1", "-I{}", "-I % ", "-r", "-t", "-0", "-d '\\n'",
        ])
    }

    fn filter(&mut self) -> &'static str {
        self.one(&[
            "cat",
            "tr a-c x-z",
            "rev",
            "sed s/a/b/",
            "head -n 1",
            "cut -c1-3",
            "sort",
            "tr -d a",
            "head -c 2",
            "grep a",
        ])
    }

    fn redirect(&mut self) -> &'static str {
        self.one(&[
            ">out",
            ">>out",
            "2>/dev/null",
            "</dev/null",
            ">/dev/null 2>&1",
            "2>&1",
            "<a.txt",
            "<none",
            ">none/out",
            "<&-",
            "3>out",
        ])
    }

    fn simple(&mut self) -> String {
        let name = self.name();
        let count = self.below(4);
        let mut text = name;
        for _ in 0..count {
            text = format!("{text} {}", self.word());
        }
        if self.below(8) == 0 {
            text = format!("{text} {}", self.redirect());
        }
        match self.below(12) {
            0 => format!("v={} {text}", self.word_unsplit()),
            1 => format!("x={}; {text}", self.word_unsplit()),
            _ => text,
        }
    }

    /// A program's name, as a person or an attacker writes it.
    fn name(&mut self) -> String {
        let name = self.one(STAND_INS);
        let (front, back) = name.split_at(1 + self.below(name.len() - 1));
        match self.below(20) {
            0 => format!("{front}\\{back}"),
            1 => format!("{front}'{back}'"),
            2 => format!("\"{front}\"{back}"),
            3 => format!("{front}''{back}"),
            4 => format!("$(echo {name})"),
            5 => format!("`echo {front}`{back}"),
            6 => format!("{front}$(echo {back})"),
            7 => format!("p={name}; $p"),
            8 => format!("p={front}; ${{p}}{back}"),
            9 => format!("${{none:-{name}}}"),
            10 if self.is_rich() => format!("$'{front}'{back}"),
            11 => format!("$none{name}"),
            12 => format!("{front}\\\n{back}"),
            _ => name.to_owned(),
        }
    }

    fn words(&mut self, most: usize) -> String {
        let count = 1 + self.below(most);
        let words: Vec<String> = (0..count).map(|_| self.word()).collect();
        words.join(" ")
    }

    fn plain(&mut self) -> String {
        self.one(&[
            "a",
            "b.txt",
            "-n",
            "--all",
            "x=y",
            "/srv/data",
            "abc",
            "1",
            "a,b",
            "zz.",
            "0x",
        ])
        .to_owned()
    }

    fn quoted_text(&mut self) -> String {
        let plain = self.plain();
        match self.below(6) {
            0 => format!("'{plain}'"),
            1 => format!("\"{plain}\""),
            2 => "'a b'".to_owned(),
            3 => "\"  a  b \"".to_owned(),
            4 => "''".to_owned(),
            _ => plain,
        }
    }

    /// A word that an assignment takes.
    fn word_unsplit(&mut self) -> String {
        loop {
            let word = self.word();
            if !word.contains('{') || word.contains('$') {
                return word;
            }
        }
    }

    fn word(&mut self) -> String {
        let plain = self.plain();
        let rich = self.is_rich();
        match self.below(84) {
            0 => "$x".to_owned(),
            1 => "\"$x\"".to_owned(),
            2 => "$y".to_owned(),
            3 => "${x}b".to_owned(),
            4 => "\"${y:-d e}\"".to_owned(),
            5 => "${y:-d e}".to_owned(),
            6 => "${x:+set}".to_owned(),
            7 => "${x#a}".to_owned(),
            8 => "${x%%t*}".to_owned(),
            9 => "${#x}".to_owned(),
            10 => "$(echo a b)".to_owned(),
            11 => "\"$(echo 'a  b')\"".to_owned(),
            12 => "`echo c`".to_owned(),
            13 => format!("$(({} + {}))", self.below(9), self.below(9)),
            14 => "*.txt".to_owned(),
            15 => "?.txt".to_owned(),
            16 => "'*'".to_owned(),
            17 => "\"$@\"".to_owned(),
            18 => "$@".to_owned(),
            19 => "$*".to_owned(),
            20 => "\"$*\"".to_owned(),
            21 => "$1".to_owned(),
            22 => "\"$2\"".to_owned(),
            23 => "$#".to_owned(),
            24 => "$?".to_owned(),
            25 => "$none".to_owned(),
            26 => "\"$none\"".to_owned(),
            27 => "{a,b}c".to_owned(),
            28 if rich => "{1..3}".to_owned(),
            29 if rich => "${arr[@]}".to_owned(),
            30 if rich => "\"${arr[@]}\"".to_owned(),
            31 if rich => "${x/a/b}".to_owned(),
            32 if rich => "${x:1:2}".to_owned(),
            33 if self.dialect == Dialect::Bash => "${x^^}".to_owned(),
            34 if rich => "$'a\\tb'".to_owned(),
            35 => "\\$x".to_owned(),
            36 => "'$x'".to_owned(),
            37 => "\"a\\\"b\"".to_owned(),
            38 => "a\\ b".to_owned(),
            39 if self.depth < MAX_DEPTH => {
                self.depth += 1;
                let inside = self.simple();
                self.depth -= 1;
                format!("$({inside})")
            }
            40 if self.depth < MAX_DEPTH => {
                self.depth += 1;
                let inside = self.simple();
                self.depth -= 1;
                format!("\"$({inside})\"")
            }
            41 => "[ab].txt".to_owned(),
            42 => "${x:=new}".to_owned(),
            43 => "sub/*".to_owned(),
            44 => "a''".to_owned(),
            45 => "\"\"".to_owned(),
            46 if self.dialect == Dialect::Bash => "${arr[1]}".to_owned(),
            47 if rich => "${#arr[@]}".to_owned(),
            48 => format!("pre{}", self.quoted_text()),
            49 => self.quoted_text(),
            52 if rich => "${!x}".replace(
                "!",
                if self.dialect == Dialect::Bash {
                    "!"
                } else {
                    ""
                },
            ),
            53 if rich => "${map[k]}".to_owned(),
            54 if self.dialect == Dialect::Bash => "\"${@:2}\"".to_owned(),
            55 => "\"$x$y\"".to_owned(),
            56 => "$x$y".to_owned(),
            57 => "\"a$@b\"".to_owned(),
            58 => "a$*b".to_owned(),
            59 => "${y-unset}".to_owned(),
            60 => "${x+$y}".to_owned(),
            61 => "\"${x:+\"a b\"}\"".to_owned(),
            62 => "${x:-\"a b\"}".to_owned(),
            63 => "${x:-'a b' c}".to_owned(),
            64 => "$(printf 'a\\nb c\\n\\n')".to_owned(),
            65 => "\"$(printf 'a\\nb\\n')\"".to_owned(),
            66 => "${x##*/}".to_owned(),
            67 => "\"${x%.*}\"".to_owned(),
            68 => "$((x=3))".to_owned(),
            69 => "`echo \\`echo in\\``".to_owned(),
            70 => "$(echo \"$(echo 'q  r')\")".to_owned(),
            71 => "{x,}y".to_owned(),
            72 => "{a..c}".to_owned(),
            73 => "'{a,b}'".to_owned(),
            74 => "${x:-{a,b}}".to_owned(),
            75 => "~".to_owned(),
            76 => "a~b".to_owned(),
            77 => "$\"loc\"".to_owned(),
            78 => "!(a)".replace("!(a)", "a\\*"),
            _ => plain,
        }
    }

    /// `text` as one word.
    fn quote(&mut self, text: &str) -> String {
        if self.below(2) == 0 && !text.contains(['"', '\\', '$', '`', '!']) {
            format!("\"{text}\"")
        } else {
            format!("'{}'", text.replace('\'', "'\\''"))
        }
    }
}
