use serde::Serialize;
use serde_json::Value;

/// The answer of most routes: `{"Code":0,"Message":"Success","Data":…}`. The HTTP status is 200
/// whatever became of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reply<T> {
    code: i8,
    message: String,
    data: T,
}

impl<T: Serialize> Reply<T> {
    /// It was done.
    pub fn success(data: T) -> Self {
        Self {
            code: 0,
            message: "Success".to_owned(),
            data,
        }
    }

    /// It was not, and what there is all the same: the output of a command that failed.
    pub fn failure_with(message: &str, trace: &str, data: T) -> Self {
        Self {
            code: -1,
            message: traced(message, trace),
            data,
        }
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

impl Reply<Option<()>> {
    /// It was not done; `trace`, 32 hex digits, is where more is found in the log.
    #[must_use]
    pub fn failure(message: &str, trace: &str) -> Self {
        Self::failure_with(message, trace, None)
    }
}

/// The answer of the routes about nodes: `{"code":0,"msg":…,"taskId":…,"data":…}`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeReply<'a> {
    code: i8,
    msg: String,
    task_id: &'a str,
    data: Value,
}

impl<'a> NodeReply<'a> {
    /// It was done for the task that the client names.
    #[must_use]
    pub fn success(task_id: &'a str, data: Value) -> Self {
        Self {
            code: 0,
            msg: "Success".to_owned(),
            task_id,
            data,
        }
    }

    /// It was not.
    #[must_use]
    pub fn failure(task_id: &'a str, message: &str, trace: &str) -> Self {
        Self {
            code: -1,
            msg: traced(message, trace),
            task_id,
            data: Value::Null,
        }
    }

    /// The document.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_json(self)
    }
}

fn traced(message: &str, trace: &str) -> String {
    format!("{message},traceId={trace}")
}

fn to_json(value: &impl Serialize) -> String {
    // Texts, numbers and what is JSON already: it cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NodeReply, Reply};

    const TRACE: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn replies_are_those_of_the_field_byte_for_byte() {
        assert_eq!(
            Reply::success("00ff").to_json(),
            r#"{"Code":0,"Message":"Success","Data":"00ff"}"#
        );
        assert_eq!(
            Reply::failure("no", TRACE).to_json(),
            r#"{"Code":-1,"Message":"no,traceId=0123456789abcdef0123456789abcdef","Data":null}"#
        );
        assert_eq!(
            NodeReply::success("t1", json!(["{}", ""])).to_json(),
            r#"{"code":0,"msg":"Success","taskId":"t1","data":["{}",""]}"#
        );
        assert_eq!(
            NodeReply::failure("t1", "no", TRACE).to_json(),
            r#"{"code":-1,"msg":"no,traceId=0123456789abcdef0123456789abcdef","taskId":"t1","data":null}"#
        );
    }

    /// The predecessor takes standard error for a format, and drops standard output.
    #[test]
    fn a_failed_command_keeps_its_output_and_its_percent_signs() {
        let reply = Reply::failure_with("100%d of %s", TRACE, "half\n");
        assert_eq!(
            reply.to_json(),
            r#"{"Code":-1,"Message":"100%d of %s,traceId=0123456789abcdef0123456789abcdef","Data":"half\n"}"#
        );
    }
}
