//! The reference page of directives, made from the table. It is kept in `docs/configuration.md`.

use std::fmt::Write;

use crate::directives::{DIRECTIVES, Directive, Kind, Mutability};

/// A Markdown page with one table per group.
pub fn reference_page() -> String {
    let mut out = String::from(
        "# Directives\n\n\
         Every directive of a data server, by topic. A file holds `name value` lines; on the command \
         line they are `--name value`; CONFIG SET changes those marked *runtime*. Directives marked \
         **no effect** are accepted, shown and rewritten so that existing files and clients work, but \
         nothing acts on them yet.\n",
    );
    let mut group = "";
    for row in DIRECTIVES {
        if row.group != group {
            group = row.group;
            let _ = write!(
                out,
                "\n## {group}\n\n| name | value | default | changes | meaning |\n\
                 |---|---|---|---|---|\n"
            );
        }
        out.push_str(&table_row(row));
    }
    out.push_str(&without_effect());
    out.push_str(REFUSED);
    out
}

/// The names of all directives that nothing acts on.
fn without_effect() -> String {
    let names: Vec<String> = DIRECTIVES
        .iter()
        .filter(|row| row.is_without_effect())
        .map(|row| format!("`{}`", row.name))
        .collect();
    format!(
        "\n## Accepted without effect\n\n\
         A server whose file changes one of these from its default says so in one line of its log:\n\n{}.\n",
        names.join(", ")
    )
}

const REFUSED: &str = "\
\n## Lines that are no directive\n\n\
| line | what happens |\n|---|---|\n\
| `include FILE` | the file's lines take its place; patterns such as `conf.d/*.conf` too |\n\
| `rename-command NAME NEW` | the command answers to the new name alone; an empty one takes it away |\n\
| `user NAME RULE ...` | a user of the access control list |\n\
| `sentinel ...` | for sentinels only |\n\
| `loadmodule FILE`, `module.setting VALUE` | refused: modules are machine code for redis-server. Take the line out; \
a client that needs the module's commands needs a redis-server |\n\
\nAny other line is refused with Redis's words and the name that was probably meant. \
`redoubt check-config FILE` tells all errors of a file at once, with their lines; its exit status is 0 if there is none, \
1 if there are some, 2 if the file can't be read.\n";

fn table_row(row: &Directive) -> String {
    let name = match row.alias {
        Some(alias) => format!("`{}` (also `{alias}`)", row.name),
        None => format!("`{}`", row.name),
    };
    let default = match row.default {
        "" => "–".to_string(),
        text => format!("`{text}`"),
    };
    let changes = match row.mutability {
        Mutability::Runtime => "runtime",
        Mutability::AtStart => "at start",
        Mutability::Protected => "runtime, protected",
    };
    let mut meaning = row.doc.to_string();
    if row.is_without_effect() {
        meaning.push_str(" **no effect**");
    }
    if row.is_hidden() {
        meaning.push_str(" (not listed by patterns)");
    }
    format!("| {name} | {} | {default} | {changes} | {meaning} |\n", value_text(row))
}

/// How a value is written, for people.
fn value_text(row: &Directive) -> String {
    let upto = |max: u64| match max {
        u64::MAX => "…".to_string(),
        max if max == i64::MAX as u64 => "…".to_string(),
        max => format!("to {max}"),
    };
    match row.kind {
        Kind::Bool | Kind::OnlyInFile(_) => "yes, no".into(),
        Kind::Int(min, max) => format!("number {min} {}", upto(max)),
        Kind::Capped(min, max) => format!("number, capped to {min} to {max}"),
        Kind::Memory(min, max) => format!("size {min} {}", upto(max)),
        Kind::MemoryRaised(floor, _) => format!("size, raised to {floor}"),
        Kind::MemoryOrPercent => "size, or n% of `maxmemory`".into(),
        Kind::Octal(min, max) => format!("octal {min:o} to {max:o}"),
        Kind::Choice => row.choices().join(", "),
        Kind::Text { .. } => "text".into(),
        Kind::Letters => "letters".into(),
        Kind::Words(words) => words.into(),
    }
}

#[cfg(test)]
mod tests {
    /// `REDOUBT_REWRITE=1 cargo test -p config` writes the page anew.
    #[test]
    fn page_in_docs_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let page = super::reference_page();
        if std::env::var_os("REDOUBT_REWRITE").is_some() {
            std::fs::write(path, &page).expect("docs/configuration.md can be written");
        }
        let kept = std::fs::read_to_string(path).expect("docs/configuration.md can be read");
        assert!(kept == page, "docs/configuration.md is out of date: rewrite it, see above");
    }
}
