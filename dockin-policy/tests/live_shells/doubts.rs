//! Lines that set what runs, set something else in a way that may not be done, and run it.

use crate::generator::Generator;

/// How something is set, again to `V`, and what runs then.
const WAYS: &[(&str, &[&str], &[&str])] = &[
    (
        "x=V",
        &[
            "x=V",
            "unset x",
            "read x <<< V",
            "printf -v x V",
            "printf -v x[0] V",
            "declare x=V",
            "export x=V",
            "eval x=V",
            "readonly x=V",
            "local x=V",
            "mapfile -t x <<< V",
            ": ${x:=V}",
            "x=$(echo V)",
            "x=${none:-V}",
            "x=${none+V}",
            "x+=V",
            "for x in V; do :; done",
            "for x in; do :; done",
            "echo V | read x",
            "getopts V x",
            "x=V y=$(false)",
            "x=V true",
            "x=V :",
            "x=V eval :",
            "read -t 0 x <<< V",
            "read -n 1 x <<< V",
            "unset -f x",
            "declare -n x=y; y=V",
            "x=(V)",
            "x[0]=V",
            "x=$(trap 'echo V' EXIT)",
            "IFS=: read x <<< V:",
            "x=$(echo V; exit 1)",
            "x=`echo V`",
        ],
        &["$x a", "\"$x\" a", "eval $x a", "command $x a"],
    ),
    (
        "set -- V",
        &[
            "set -- V",
            "shift",
            "shift 0",
            "shift 3",
            "set V",
            "set --",
            "eval set -- V",
            "set -- \"$@\" V",
        ],
        &["$1 a", "\"$@\" a"],
    ),
    (
        "f() { V a; }",
        &[
            "f() { V a; }",
            "unset -f f",
            "f() { V a; } >/none/f",
            "f() ( V a )",
            "eval 'f() { V a; }'",
            "unset f",
        ],
        &["f"],
    ),
    (
        "echo 'V a' > s; echo 'W a' > t",
        &[
            "echo 'V a' > s",
            "printf 'V a' > s",
            "cat > s <<< 'V a'",
            "echo 'V a' | tee s",
            "cat t > s",
            "cat t >> s",
            ": > s",
            "true > s",
            "echo exit > s",
            "tee s < t",
        ],
        &["dash s", ". ./s", "dash < s"],
    ),
];

/// Where it is done: `O` is what sets, `C` a condition, `R` a redirection.
const PLACES: &[&str] = &[
    "O",
    "O",
    "O R",
    "O R",
    "{ O; } R",
    "{ O; }",
    "( O )",
    "O &\nwait",
    "O | cat",
    "cat <a.txt | O",
    "if C; then O; fi",
    "if C; then :; else O; fi",
    "C && O",
    "C || O",
    "C && C || O",
    "while C; do O; break; done",
    "until C; do O; break; done",
    "for i in; do O; done",
    "for i in 1; do O; done",
    "for i in 1 2; do C || continue; O; done",
    "case a in b) O;; esac",
    "case a in a) O;; esac",
    "case a in a) C;; *) O;; esac",
    "eval 'O'",
    "eval 'O' R",
    "g() { O; }; g",
    "g() { C && return; O; }; g",
    "g() { C || return; O; }; g",
    "g() { O; } R; g",
    "trap 'O' EXIT",
    "trap 'O' DEBUG; :",
    "y=$(O)",
    "command O",
    "builtin O",
    "time O",
    "! O",
    "{ C; } && O",
    "{ C; O; } R",
    "if C; then O; fi R",
    "for i in 1; do O; done R",
    "C R && O",
    "C R || O",
    "(C) && O",
    "(C) || O",
    "y=$(C) && O",
    "! C && O",
    "exec R; O",
    "C | O",
];

const CONDITIONS: &[&str] = &[
    "true",
    "false",
    "[ -e sub ]",
    "[ -e none ]",
    "[[ a == b ]]",
    "((1))",
    "((0))",
    "cd sub",
    "cd none",
    "read y </dev/null",
    ":",
    "! true",
    "let 0",
    "shift 3",
    "y=1",
    "y=$(false)",
    "export y=$(false)",
    "[ $none = a ]",
    "[ a -eq b ]",
    "printf %d z",
    "getopts a y",
    "eval false",
    "(exit 3)",
    "{ false; }",
    "break",
    "trap : NONE",
    "wait 999999",
    "alias none",
    "unset none",
];

const REDIRECTIONS: &[&str] = &[
    ">/none/f",
    "</none",
    "2>/none/f",
    ">sub",
    ">$none",
    ">&8",
    "<&8",
    "2>&-",
    ">/dev/null",
    "<<<a",
    ">>/none/f",
    ">f",
    "2>f",
    "<a.txt",
];

pub(crate) fn line(generator: &mut Generator) -> String {
    let (first, again, uses) = WAYS[generator.below(WAYS.len())];
    let (old, new) = [("kubectl", "docker"), ("docker", "kubectl")][generator.below(2)];
    let mut line = first.replace('V', old).replace('W', new);
    let join = generator.one(&["; ", "\n"]);
    for _ in 0..=generator.below(2) {
        let mut sets = generator.one(again).replace('V', new);
        for _ in 0..=generator.below(2) {
            sets = placed(generator, &sets);
        }
        line = format!("{line}{join}{sets}");
    }
    format!("{line}{join}{}", generator.one(uses))
}

fn placed(generator: &mut Generator, sets: &str) -> String {
    let place = generator.one(PLACES);
    // Quotes inside of quotes.
    let place = if place.contains("'O") && sets.contains(['\'', '\n']) {
        "O"
    } else {
        place
    };
    let mut text = String::new();
    for letter in place.chars() {
        match letter {
            'O' => text.push_str(sets),
            'C' => text.push_str(generator.one(CONDITIONS)),
            'R' => text.push_str(generator.one(REDIRECTIONS)),
            letter => text.push(letter),
        }
    }
    text
}
