//! JSON as Lua values.

use super::{DEPTH_MAX, Options};
use crate::number::strtod;
use crate::raise;
use mlua::{Lua, Value};

enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Wrong(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::Text(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Wrong(what) => what,
        }
    }
}

struct Parser<'a> {
    lua: &'a Lua,
    options: &'a Options,
    bytes: &'a [u8],
    at: usize,
    /// Where the last token began, or where it went wrong.
    index: usize,
    depth: i64,
}

/// Reads a whole document.
pub(super) fn document(lua: &Lua, options: &Options, bytes: &[u8]) -> mlua::Result<Value> {
    if bytes.len() >= 2 && (bytes[0] == 0 || bytes[1] == 0) {
        return Err(raise::text(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let mut parser = Parser { lua, options, bytes, at: 0, index: 0, depth: 0 };
    let token = parser.next();
    let value = parser.value(token)?;
    match parser.next() {
        Token::End => Ok(value),
        other => Err(parser.expected("the end", &other)),
    }
}

impl Parser<'_> {
    fn expected(&self, what: &str, found: &Token) -> mlua::Error {
        let place = self.index + 1;
        let text = format!("Expected {what} but found {} at character {place}", found.name());
        raise::text(self.lua, text)
    }

    /// The byte here; 0 at the end, as a C string has it.
    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn wrong(&mut self, what: &'static str) -> Token {
        self.index = self.at;
        Token::Wrong(what)
    }

    fn one(&mut self, token: Token) -> Token {
        self.at += 1;
        token
    }

    fn next(&mut self) -> Token {
        while matches!(self.byte(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.index = self.at;
        match self.byte(0) {
            b'{' => self.one(Token::ObjectBegin),
            b'}' => self.one(Token::ObjectEnd),
            b'[' => self.one(Token::ArrayBegin),
            b']' => self.one(Token::ArrayEnd),
            b',' => self.one(Token::Comma),
            b':' => self.one(Token::Colon),
            0 => Token::End,
            b'"' => self.text(),
            b'-' | b'0'..=b'9' => {
                if !self.options.decode_invalid && self.is_invalid_number() {
                    return self.wrong("invalid number");
                }
                self.number()
            }
            _ if self.rest().starts_with(b"true") => self.word(4, Token::Boolean(true)),
            _ if self.rest().starts_with(b"false") => self.word(5, Token::Boolean(false)),
            _ if self.rest().starts_with(b"null") => self.word(4, Token::Null),
            b'+' | b'i' | b'I' | b'n' | b'N'
                if self.options.decode_invalid && self.is_invalid_number() =>
            {
                self.number()
            }
            _ => self.wrong("invalid token"),
        }
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn word(&mut self, length: usize, token: Token) -> Token {
        self.at += length;
        token
    }

    /// Hexadecimal, with leading zeros, not finite, or with a plus.
    fn is_invalid_number(&self) -> bool {
        if self.byte(0) == b'+' {
            return true;
        }
        let ahead = usize::from(self.byte(0) == b'-');
        match self.byte(ahead) {
            b'0' => matches!(self.byte(ahead + 1), b'x' | b'X' | b'0'..=b'9'),
            byte if byte <= b'9' => false,
            _ => {
                let word = self.bytes.get(self.at + ahead..).unwrap_or_default();
                word.len() >= 3
                    && (word[..3].eq_ignore_ascii_case(b"inf")
                        || word[..3].eq_ignore_ascii_case(b"nan"))
            }
        }
    }

    fn number(&mut self) -> Token {
        match strtod(self.rest()) {
            Some((number, used)) => {
                self.at += used;
                Token::Number(number)
            }
            None => self.wrong("invalid number"),
        }
    }

    fn text(&mut self) -> Token {
        self.at += 1;
        let mut out = Vec::new();
        loop {
            match self.byte(0) {
                b'"' => break,
                0 => return self.wrong("unexpected end of string"),
                b'\\' => {
                    let plain = match self.byte(1) {
                        same @ (b'"' | b'\\' | b'/') => same,
                        b'b' => 8,
                        b't' => 9,
                        b'n' => 10,
                        b'f' => 12,
                        b'r' => 13,
                        b'u' => match self.unicode(&mut out) {
                            Some(used) => {
                                self.at += used;
                                continue;
                            }
                            None => return self.wrong("invalid unicode escape code"),
                        },
                        _ => return self.wrong("invalid escape code"),
                    };
                    out.push(plain);
                    self.at += 2;
                }
                byte => {
                    out.push(byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Token::Text(out)
    }

    fn hex4(&self, ahead: usize) -> Option<u32> {
        let digits = self.bytes.get(self.at + ahead..self.at + ahead + 4)?;
        digits.iter().try_fold(0, |value, &digit| Some(value * 16 + (digit as char).to_digit(16)?))
    }

    /// `\uXXXX`, or two of them that are a pair. Returns how many bytes it was.
    fn unicode(&self, out: &mut Vec<u8>) -> Option<usize> {
        let mut code = self.hex4(2)?;
        let mut used = 6;
        if code & 0xF800 == 0xD800 {
            // The first half of a pair must be followed by the second.
            if code & 0x400 != 0 || self.byte(6) != b'\\' || self.byte(7) != b'u' {
                return None;
            }
            let low = self.hex4(8)?;
            if low & 0xFC00 != 0xDC00 {
                return None;
            }
            code = ((code & 0x3FF) << 10 | low & 0x3FF) + 0x10000;
            used = 12;
        }
        let mut buffer = [0; 4];
        out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut buffer).as_bytes());
        Some(used)
    }

    fn descend(&mut self) -> mlua::Result<()> {
        self.depth += 1;
        if self.depth <= self.options.decode_max_depth.min(DEPTH_MAX) {
            return Ok(());
        }
        let text = format!(
            "Found too many nested data structures ({}) at character {}",
            self.depth, self.at
        );
        Err(raise::text(self.lua, text))
    }

    fn value(&mut self, token: Token) -> mlua::Result<Value> {
        Ok(match token {
            Token::Text(text) => Value::String(self.lua.create_string(text)?),
            Token::Number(number) => Value::Number(number),
            Token::Boolean(value) => Value::Boolean(value),
            Token::Null => Value::NULL,
            Token::ObjectBegin => self.object()?,
            Token::ArrayBegin => self.array()?,
            other => return Err(self.expected("value", &other)),
        })
    }

    fn object(&mut self) -> mlua::Result<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token, Token::ObjectEnd) {
            self.depth -= 1;
            return Ok(Value::Table(table));
        }
        loop {
            let Token::Text(key) = token else {
                return Err(self.expected("object key string", &token));
            };
            match self.next() {
                Token::Colon => {}
                other => return Err(self.expected("colon", &other)),
            }
            let inner = self.next();
            let value = self.value(inner)?;
            table.raw_set(self.lua.create_string(key)?, value)?;
            match self.next() {
                Token::ObjectEnd => break,
                Token::Comma => token = self.next(),
                other => return Err(self.expected("comma or object end", &other)),
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn array(&mut self) -> mlua::Result<Value> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token, Token::ArrayEnd) {
            self.depth -= 1;
            return Ok(Value::Table(table));
        }
        for index in 1i64.. {
            let value = self.value(token)?;
            table.raw_set(index, value)?;
            match self.next() {
                Token::ArrayEnd => break,
                Token::Comma => token = self.next(),
                other => return Err(self.expected("comma or array end", &other)),
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }
}
