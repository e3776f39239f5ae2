use serde::{Deserialize, Serialize};

/// A terminal's size in character cells.
///
/// On the wire: `{"Width":80,"Height":24}` and a newline, one JSON object per change.
///
/// Spec: Kubernetes `remotecommand/resize.go`, `TerminalSize`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TerminalSize {
    /// Columns, `0..=65_535`.
    #[serde(rename = "Width", alias = "width", default)]
    pub width: u16,
    /// Rows, `0..=65_535`.
    #[serde(rename = "Height", alias = "height", default)]
    pub height: u16,
}

impl TerminalSize {
    /// The JSON object with the newline that Go's encoder writes.
    #[must_use]
    pub fn to_json_line(self) -> String {
        format!("{{\"Width\":{},\"Height\":{}}}\n", self.width, self.height)
    }

    /// Reads one JSON object; `None` for anything else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::TerminalSize;

    #[test]
    fn size_survives_its_json_line() {
        let size = TerminalSize {
            width: 132,
            height: 50,
        };
        assert_eq!(
            TerminalSize::parse(size.to_json_line().as_bytes()),
            Some(size)
        );
        assert_eq!(TerminalSize::parse(b"{\"Width\":70000,\"Height\":1}"), None);
        assert_eq!(TerminalSize::parse(b"80x24"), None);
    }
}
