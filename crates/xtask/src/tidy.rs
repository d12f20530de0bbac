//! `cargo xtask tidy`: what no compiler checks about the files themselves.
//!
//! A broken rule is an error; what is merely long is listed, as a question to whoever reads it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths;

/// Lines beyond which a file is listed.
const LONG_FILE: usize = 600;

/// Checks all files; the number of complaints is in the error.
pub fn run() -> Result<()> {
    let root = paths::root();
    let mut complaints = Vec::new();
    let mut sources = Vec::new();
    for dir in ["crates", "fuzz"] {
        collect(&root.join(dir), "rs", &mut sources)?;
    }
    let mut long = Vec::new();
    for path in &sources {
        let text = read(path)?;
        let name = shown(path, &root);
        if !text.starts_with("//!") {
            complaints.push(format!("{name}: the file does not begin with //! (what it holds)"));
        }
        complaints.extend(loose_ends(&name, &text));
        let lines = text.lines().count();
        if lines > LONG_FILE {
            long.push((lines, name));
        }
    }
    let mut scripts = Vec::new();
    collect(&root.join("tests"), "py", &mut scripts)?;
    for path in &scripts {
        let (text, name) = (read(path)?, shown(path, &root));
        if !text.starts_with("\"\"\"") {
            complaints.push(format!("{name}: the file does not begin with what it holds"));
        }
        complaints.extend(loose_ends(&name, &text));
    }
    complaints.extend(rooms(&root)?);
    long.sort();
    for (lines, name) in long.iter().rev() {
        println!("  {lines:>5} lines: {name}");
    }
    if !complaints.is_empty() {
        complaints.sort();
        bail!("tidy:\n  {}", complaints.join("\n  "));
    }
    println!("tidy: {} Rust files, {} Python files", sources.len(), scripts.len());
    Ok(())
}

/// Every crate has its row in ARCHITECTURE.md.
fn rooms(root: &Path) -> Result<Vec<String>> {
    let Ok(text) = std::fs::read_to_string(root.join("ARCHITECTURE.md")) else {
        return Ok(vec!["ARCHITECTURE.md does not exist".into()]);
    };
    let mut complaints = Vec::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !text.contains(&format!("`{name}`")) {
            complaints.push(format!("ARCHITECTURE.md does not name the room `{name}`"));
        }
    }
    Ok(complaints)
}

/// Marks of unfinished work that name no issue (`TODO(#12)` does).
fn loose_ends(name: &str, text: &str) -> Vec<String> {
    let marks = ["TODO", "FIXME", "XXX"];
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
        let marked = words.any(|word| marks.contains(&word));
        if marked && !line.contains("(#") && !line.contains('"') {
            found.push(format!("{name}:{}: unfinished work without an issue", at + 1));
        }
    }
    found
}

fn collect(dir: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir).with_context(|| format!("{}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "corpus", "artifacts", "__pycache__"].contains(&name.as_str()) {
                collect(&path, extension, found)?;
            }
        } else if path.extension().is_some_and(|ending| ending == extension) {
            found.push(path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))
}

fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::loose_ends;

    #[test]
    fn unfinished_work_needs_an_issue() {
        let mark = ["TO", "DO"].concat();
        assert_eq!(loose_ends("f", &format!("// {mark}: later\n// {mark}(#7): later\n")).len(), 1);
        assert!(loose_ends("f", "// mastodon\nlet todo = 1;\n").is_empty());
    }
}
