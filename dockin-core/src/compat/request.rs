use std::collections::BTreeMap;

use dockin_stream::TerminalSize;
use serde_json::Value;

use crate::{Error, ErrorKind};

/// What a client of Dockin-Ops asks for: the JSON object of its envelope.
///
/// Keys count in any case, as the predecessor reads them. A value of another kind than its key has
/// is refused (there it ended the server's work), and so is a key in two spellings.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct OpsRequest {
    /// `command`.
    pub command: String,
    /// `resource`: what is asked about.
    pub resource: String,
    /// `name`: of it; a pod's name or address.
    pub name: String,
    /// `printType`.
    pub print_type: String,
    /// `flags`: the command to run.
    pub flags: Vec<String>,
    /// `params.rule`, or `rule`: the group of clusters; none when it is not said.
    pub rule: Option<String>,
    /// `params.namespace`, or `namespace`.
    pub namespace: Option<String>,
    /// `clusterId`.
    pub cluster: Option<String>,
    /// `params.tty`.
    pub tty: bool,
    /// `params.width` and `params.height`, when there is a terminal.
    pub size: Option<TerminalSize>,
    /// `params.dcn`: data centres, separated by commas.
    pub dcn: String,
    /// `params.all-namespaces`.
    pub all_namespaces: bool,
    /// `userName`: who the client says he is, which proves nothing.
    pub user_name: String,
    /// `accessToken`.
    pub access_token: String,
    /// `env`: `NAME=VALUE` each.
    pub env: Vec<String>,
    /// `user`: as whom the command is to run.
    pub user: String,
    /// `workDir`: where the command is to run.
    pub work_dir: String,
    /// `container`.
    pub container: String,
}

impl OpsRequest {
    /// Reads the text of an envelope.
    ///
    /// # Errors
    ///
    /// `Malformed` that names the key and what it should be; the text is not quoted, it may hold a
    /// secret.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let fields = serde_json::from_slice(text)
            .ok()
            .and_then(Fields::new)
            .ok_or_else(|| {
                let what = "the envelope holds no JSON object with each key in one spelling: is \
                            it sealed with this gateway's key?";
                Error::new(ErrorKind::Malformed, what)
            })?;
        let inner = match fields.0.get("params") {
            None | Some(Value::Null) => Fields::default(),
            Some(value) => {
                Fields::new(value.clone()).ok_or_else(|| wrong("params", "an object"))?
            }
        };
        let tty = inner.flag("tty")?;
        let either = |name: &str| -> Result<Option<String>, Error> {
            let [inner, outer] = [inner.text(name)?, fields.text(name)?];
            let said = if inner.is_empty() { outer } else { inner };
            Ok((!said.is_empty()).then_some(said))
        };
        let size = match (inner.cells("width")?, inner.cells("height")?) {
            (Some(width), Some(height)) if tty && width > 0 && height > 0 => {
                Some(TerminalSize { width, height })
            }
            _ => None,
        };
        let cluster = fields.text("clusterid")?;
        Ok(Self {
            command: fields.text("command")?,
            resource: fields.text("resource")?,
            name: fields.text("name")?,
            print_type: fields.text("printtype")?,
            flags: fields.list("flags")?,
            rule: either("rule")?,
            namespace: either("namespace")?,
            cluster: (!cluster.is_empty()).then_some(cluster),
            tty,
            size,
            dcn: inner.text("dcn")?,
            all_namespaces: inner.flag("all-namespaces")?,
            user_name: fields.text("username")?,
            access_token: fields.text("accesstoken")?,
            env: fields.list("env")?,
            user: fields.text("user")?,
            work_dir: fields.text("workdir")?,
            container: fields.text("container")?,
        })
    }
}

/// Without token, environment and command: each may have a secret in it.
impl std::fmt::Debug for OpsRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpsRequest")
            .field("resource", &self.resource)
            .field("name", &self.name)
            .field("rule", &self.rule)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// An object's values by their keys in small letters.
#[derive(Default)]
pub(super) struct Fields(BTreeMap<String, Value>);

impl Fields {
    /// Nothing for what is no object, and for one that has a key in two spellings.
    pub(super) fn new(value: Value) -> Option<Self> {
        let Value::Object(object) = value else {
            return None;
        };
        let count = object.len();
        let fields: BTreeMap<String, Value> = object
            .into_iter()
            .map(|(key, value)| (key.to_lowercase(), value))
            .collect();
        (fields.len() == count).then_some(Self(fields))
    }

    pub(super) fn text(&self, name: &str) -> Result<String, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(wrong(name, "a text")),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(wrong(name, "`true` or `false`")),
        }
    }

    /// A number of character cells; one that no terminal has counts as the most there can be.
    pub(super) fn cells(&self, name: &str) -> Result<Option<u16>, Error> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Number(number)) => {
                let number = number
                    .as_u64()
                    .ok_or_else(|| wrong(name, "a whole number"))?;
                Ok(Some(u16::try_from(number).unwrap_or(u16::MAX)))
            }
            Some(_) => Err(wrong(name, "a number")),
        }
    }

    fn list(&self, name: &str) -> Result<Vec<String>, Error> {
        let texts = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(texts)) => texts,
            Some(_) => return Err(wrong(name, "a list of texts")),
        };
        let text = |value: &Value| match value {
            Value::String(text) if !text.contains('\0') => Ok(text.clone()),
            _ => Err(wrong(name, "a list of texts without NUL bytes")),
        };
        texts.iter().map(text).collect()
    }
}

fn wrong(name: &str, shape: &str) -> Error {
    let message = format!("`{name}` in the envelope must be {shape}");
    Error::new(ErrorKind::Malformed, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use dockin_stream::TerminalSize;

    use super::OpsRequest;

    fn parse(text: &str) -> Result<OpsRequest, String> {
        OpsRequest::parse(text.as_bytes()).map_err(|error| error.chain())
    }

    /// What `opsctl list ip 10.0.0.7 -d 1C1` sends.
    #[test]
    fn a_list_as_opsctl_asks_for_it_is_read() {
        let request = parse(
            r#"{"command":"list","resource":"ip","name":"10.0.0.7","printType":"wide","flags":null,"params":{"dcn":"1C1"},"userName":"","password":"","accessToken":"","env":null,"user":"","workDir":"","container":""}"#,
        );
        let expected = OpsRequest {
            command: "list".to_owned(),
            resource: "ip".to_owned(),
            name: "10.0.0.7".to_owned(),
            print_type: "wide".to_owned(),
            dcn: "1C1".to_owned(),
            ..OpsRequest::default()
        };
        assert_eq!(request, Ok(expected));
    }

    /// What `opsctl ssh web-0 -w /data -e A=b` sends from a terminal of 116 by 22.
    #[test]
    fn a_shell_as_opsctl_asks_for_it_is_read() {
        let request = parse(
            r#"{"command":"/bin/bash","resource":"","name":"web-0","printType":"wide","flags":null,"params":{"height":22,"tty":true,"width":116},"userName":"app","password":"","accessToken":"00ff","env":["A=b"],"user":"","workDir":"/data","container":"op_server"}"#,
        )
        .unwrap();
        let size = TerminalSize {
            width: 116,
            height: 22,
        };
        assert_eq!((request.tty, request.size), (true, Some(size)));
        assert_eq!(request.env, ["A=b"]);
        assert_eq!(
            (&*request.access_token, &*request.container),
            ("00ff", "op_server")
        );
        assert_eq!((request.rule, request.namespace), (None, None));
    }

    #[test]
    fn keys_count_in_any_case_and_in_one_spelling() {
        let request =
            parse(r#"{"NAME":"a","Flags":["ls"],"PARAMS":{"Rule":"r","nameSpace":"n"}}"#).unwrap();
        assert_eq!(
            (&*request.name, &request.flags[..]),
            ("a", &["ls".to_owned()][..])
        );
        assert_eq!(
            (request.rule.as_deref(), request.namespace.as_deref()),
            (Some("r"), Some("n"))
        );
        let error = parse(r#"{"name":"a","Name":"b"}"#).unwrap_err();
        assert!(error.contains("in one spelling"), "{error}");
    }

    /// A value of the wrong kind ended the predecessor's handler.
    #[test]
    fn a_value_of_another_kind_is_refused_by_its_name() {
        for (text, name) in [
            (r#"{"name":1}"#, "`name`"),
            (r#"{"flags":"ls"}"#, "`flags`"),
            (r#"{"flags":["ls",1]}"#, "`flags`"),
            (r#"{"flags":["a\u0000b"]}"#, "`flags`"),
            (r#"{"params":[]}"#, "`params`"),
            (r#"{"params":{"tty":"true"}}"#, "`tty`"),
            (r#"{"params":{"tty":true,"width":"80"}}"#, "`width`"),
            (r#"{"params":{"tty":true,"width":-1}}"#, "`width`"),
            (r#"{"params":{"rule":{}}}"#, "`rule`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(name), "{text}: {error}");
        }
        for text in ["", "[]", "null", "\"x\"", "{", "\u{1}s3cret"] {
            let error = parse(text).unwrap_err();
            assert!(
                error.contains("JSON object") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_size_without_a_terminal_or_of_nothing_is_none() {
        for params in [
            r#"{"width":80,"height":24}"#,
            r#"{"tty":true,"width":80}"#,
            r#"{"tty":true,"width":0,"height":24}"#,
        ] {
            let request = parse(&format!(r#"{{"params":{params}}}"#)).unwrap();
            assert_eq!(request.size, None, "{params}");
        }
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let request = parse(r#"{"name":"web","accessToken":"s1","env":["P=s2"],"flags":["s3"]}"#);
        let shown = format!("{:?}", request.unwrap());
        assert!(shown.contains("web") && !shown.contains("s1"), "{shown}");
        assert!(!shown.contains("s2") && !shown.contains("s3"), "{shown}");
    }
}
