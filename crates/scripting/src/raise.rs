//! Errors that our functions raise inside a script, and what a script sees of them.
//!
//! A function of ours that fails returns an `Err`, which travels through the interpreter as an
//! opaque object. Wherever a script can look at an error (`pcall`, `xpcall`, `coroutine.resume`)
//! it is turned into what Redis's C functions would have raised: a text with the place before it,
//! or a table with the field `err`.

use mlua::{Error, Lua, Value};
use std::fmt;

/// What a function of ours raises.
#[derive(Clone, Debug)]
pub(crate) enum Raise {
    /// A text, as `luaL_error` makes it.
    Text(Vec<u8>),
    /// A table with this `err`; its statistics are counted already if the flag is set.
    Table(Vec<u8>, bool),
    /// The script was told to end: cannot be caught.
    Kill(&'static str),
}

impl fmt::Display for Raise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raise::Text(text) | Raise::Table(text, _) => {
                f.write_str(&String::from_utf8_lossy(text))
            }
            Raise::Kill(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Raise {}

/// Source of our own Lua code: its frames are not the script's.
pub(crate) const GLUE: &str = "=glue";

/// One frame of a script.
pub(crate) struct Place {
    /// The chunk's name, with its mark (`@user_script`).
    pub source: String,
    /// The same, short, as messages show it.
    pub short: String,
    /// The line.
    pub line: usize,
}

/// The frame of the script, counted from `level` on, in which something happens.
pub(crate) fn place(lua: &Lua, level: usize) -> Option<Place> {
    for level in level..level + 16 {
        let found = lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let name = source.source.as_deref().unwrap_or_default().to_string();
            // A frame that a tail call has replaced is not there to be named.
            if matches!(source.what, "C" | "tail") || name == GLUE || name.starts_with("=(tail") {
                return None;
            }
            let short = source.short_src.as_deref().unwrap_or_default().to_string();
            Some((name, short, frame.current_line()))
        })?;
        if let Some((source, short, line)) = found {
            return line.map(|line| Place { source, short, line });
        }
    }
    None
}

/// Whether our function was called by another C function (`pcall(cjson.decode, …)`): then its
/// errors bear no place.
fn called_by_c(lua: &Lua) -> bool {
    for level in 1..16 {
        let found = lua.inspect_stack(level, |frame| {
            let source = frame.source();
            let ours = source.source.as_deref() == Some(GLUE) || source.what == "tail";
            (!ours).then_some(source.what == "C")
        });
        match found {
            Some(Some(is_c)) => return is_c,
            Some(None) => {}
            None => return false,
        }
    }
    false
}

/// An error text with the place of the caller before it, as `luaL_error`.
pub(crate) fn text(lua: &Lua, message: impl AsRef<[u8]>) -> Error {
    let known = if called_by_c(lua) { None } else { place(lua, 1) };
    let mut whole = match known {
        Some(place) => format!("{}:{}: ", place.short, place.line).into_bytes(),
        None => Vec::new(),
    };
    whole.extend_from_slice(message.as_ref());
    Error::external(Raise::Text(whole))
}

/// An error text without a place.
pub(crate) fn bare(message: impl AsRef<[u8]>) -> Error {
    Error::external(Raise::Text(message.as_ref().to_vec()))
}

/// An error table.
pub(crate) fn table(message: impl Into<Vec<u8>>) -> Error {
    Error::external(Raise::Table(message.into(), true))
}

/// The end of the script.
pub(crate) fn kill(why: &'static str) -> Error {
    Error::external(Raise::Kill(why))
}

/// What is known of an error that came through the interpreter.
pub(crate) fn read(error: &Error) -> Raise {
    match error {
        Error::CallbackError { cause, .. } => read(cause),
        Error::WithContext { cause, .. } => read(cause),
        Error::ExternalError(inner) => match inner.downcast_ref::<Raise>() {
            Some(raise) => raise.clone(),
            None => Raise::Text(inner.to_string().into_bytes()),
        },
        Error::MemoryError(_) => Raise::Text(b"not enough memory".to_vec()),
        Error::RuntimeError(text) => {
            let end = text.find("\nstack traceback:").unwrap_or(text.len());
            Raise::Text(text.as_bytes()[..end].to_vec())
        }
        other => Raise::Text(other.to_string().into_bytes()),
    }
}

/// The value that a script sees in place of an error object; `None` for an end that it must not
/// hold up.
pub(crate) fn visible(lua: &Lua, error: &Error) -> mlua::Result<Option<Value>> {
    Ok(match read(error) {
        Raise::Text(text) => Some(Value::String(lua.create_string(text)?)),
        Raise::Table(text, counted) => Some(Value::Table(error_table(lua, &text, counted)?)),
        Raise::Kill(_) => None,
    })
}

/// `{err = text}`, with the note that statistics have counted it.
pub(crate) fn error_table(lua: &Lua, text: &[u8], counted: bool) -> mlua::Result<mlua::Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("err", lua.create_string(text)?)?;
    if counted {
        table.raw_set("ignore_error_stats_update", true)?;
    }
    Ok(table)
}
