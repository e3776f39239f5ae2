use std::fmt;

use thiserror::Error;

use super::Json;

/// A field that is there and not of its kind.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("`{path}` is not {expected}")]
pub struct FieldError {
    /// Keys and indexes, such as `ipam.routes[1].dst`.
    pub path: String,
    /// The kind it should have.
    pub expected: &'static str,
}

#[derive(Clone, Debug, Default)]
struct Path(String);

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() {
            "the configuration"
        } else {
            &self.0
        })
    }
}

/// A value or its absence, with the path that led there. `null` is absence.
#[derive(Clone, Debug)]
pub struct Field<'a> {
    path: Path,
    value: Option<&'a Json<'a>>,
}

impl<'a> Field<'a> {
    pub(super) fn root(value: &'a Json<'a>) -> Self {
        Field {
            path: Path(String::new()),
            value: Some(value).filter(|value| **value != Json::Null),
        }
    }

    /// The path, for messages.
    #[must_use]
    pub fn path(&self) -> String {
        self.path.to_string()
    }

    /// Is there anything?
    #[must_use]
    pub const fn is_present(&self) -> bool {
        self.value.is_some()
    }

    /// The field called `name`; the last one that matches without regard to case.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no object.
    pub fn get(&self, name: &str) -> Result<Self, FieldError> {
        let members = match self.value {
            None => &[],
            Some(Json::Object(members)) => members.as_slice(),
            Some(_) => return Err(self.wrong("an object")),
        };
        let mut latest = members.iter().rev();
        let found = latest.find(|(key, _)| key.eq_ignore_ascii_case(name));
        Ok(Field {
            path: self.join(found.map_or(name, |(key, _)| key)),
            value: found
                .map(|(_, value)| value)
                .filter(|value| **value != Json::Null),
        })
    }

    /// All members of an object, in order; none when absent.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no object.
    pub fn members(&self) -> Result<Vec<(&'a str, Self)>, FieldError> {
        match self.value {
            None => Ok(Vec::new()),
            Some(Json::Object(members)) => Ok(members
                .iter()
                .map(|(key, value)| {
                    let field = Field {
                        path: self.join(key),
                        value: Some(value).filter(|value| **value != Json::Null),
                    };
                    (key.as_ref(), field)
                })
                .collect()),
            Some(_) => Err(self.wrong("an object")),
        }
    }

    /// All elements of a list; none when absent. A `null` among them is an absent field.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no list.
    pub fn elements(&self) -> Result<impl ExactSizeIterator<Item = Self>, FieldError> {
        let elements = match self.value {
            None => &[],
            Some(Json::Array(elements)) => elements.as_slice(),
            Some(_) => return Err(self.wrong("a list")),
        };
        // One at a time: the list of what is to stay is as long as a node has containers.
        Ok(elements.iter().enumerate().map(|(index, value)| Field {
            path: Path(format!("{}[{index}]", self.path.0)),
            value: Some(value).filter(|value| **value != Json::Null),
        }))
    }

    /// The string, or `None` when absent.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no string.
    pub fn string(&self) -> Result<Option<&'a str>, FieldError> {
        match self.value {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong("a string")),
        }
    }

    /// The whole number, or `None` when absent. `1.0` and `1e2` are not whole numbers here.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and no whole number of 64 bits.
    pub fn integer(&self) -> Result<Option<i64>, FieldError> {
        match self.value {
            None => Ok(None),
            Some(Json::Number(text)) => text
                .parse()
                .map(Some)
                .map_err(|_| self.wrong("a whole number")),
            Some(_) => Err(self.wrong("a whole number")),
        }
    }

    /// The truth value, or `None` when absent.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is there and neither `true` nor `false`.
    pub fn boolean(&self) -> Result<Option<bool>, FieldError> {
        match self.value {
            None => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.wrong("true or false")),
        }
    }

    /// A list of strings; a `null` among them is an empty one, as in the reference.
    ///
    /// # Errors
    ///
    /// [`FieldError`] when this is no list or holds something else.
    pub fn strings(&self) -> Result<Vec<&'a str>, FieldError> {
        self.elements()?
            .map(|element| Ok(element.string()?.unwrap_or_default()))
            .collect()
    }

    /// The value itself.
    #[must_use]
    pub const fn value(&self) -> Option<&'a Json<'a>> {
        self.value
    }

    fn wrong(&self, expected: &'static str) -> FieldError {
        FieldError {
            path: self.path(),
            expected,
        }
    }

    fn join(&self, name: &str) -> Path {
        Path(if self.path.0.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path.0)
        })
    }
}
