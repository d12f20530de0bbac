//! The table that `redoubt status` prints.

use comfy_table::{Table, presets};

use super::event::date_and_time;
use super::layout;
use super::snapshot::{Snapshot, pid_text};

/// Events below the tables.
const EVENTS_SHOWN: usize = 8;

/// The whole text.
pub fn text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    match (&snapshot.master, &snapshot.master_address) {
        (Some(name), Some(address)) => out.push_str(&format!("master: {name} at {address}\n")),
        _ => out.push_str("master: the sentinels do not agree on one\n"),
    }
    if snapshot.ready {
        out.push_str("ready:  yes\n");
    } else {
        out.push_str(&format!("ready:  no, waiting for {}\n", snapshot.waiting_for.join("; ")));
    }
    let dir = layout::display(snapshot.dir.as_ref());
    out.push_str(&format!("folder: {dir}, up is pid {}\n\n", snapshot.pid));
    let mut nodes =
        table(&["NODE", "ADDRESS", "PID", "PROCESS", "ROLE", "LINK", "OFFSET", "BEHIND"]);
    for node in &snapshot.nodes {
        nodes.add_row([
            node.member.name.clone(),
            node.member.address.clone(),
            pid_text(node.member.pid),
            node.member.state.word().into(),
            node.role_text().into(),
            node.link_text(),
            node.offset_text(),
            node.lag_text(),
        ]);
    }
    push_table(&mut out, &nodes);
    let mut sentinels = table(&[
        "SENTINEL",
        "ADDRESS",
        "PID",
        "PROCESS",
        "MASTER",
        "SAYS IT IS",
        "EPOCH",
        "VOTED FOR",
        "KNOWS",
    ]);
    for sentinel in &snapshot.sentinels {
        sentinels.add_row([
            sentinel.member.name.clone(),
            sentinel.member.address.clone(),
            pid_text(sentinel.member.pid),
            sentinel.member.state.word().into(),
            sentinel.master_text(),
            sentinel.opinion(),
            sentinel.current_epoch.map_or("-".into(), |epoch| epoch.to_string()),
            sentinel.vote_text(),
            sentinel.sees(),
        ]);
    }
    push_table(&mut out, &sentinels);
    out.push_str("last events:\n");
    let skipped = snapshot.events.len().saturating_sub(EVENTS_SHOWN);
    for event in &snapshot.events[skipped..] {
        let time = date_and_time(event.at);
        out.push_str(&format!("  {time} {} {}\n", event.source, event.text));
    }
    out
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn push_table(out: &mut String, table: &Table) {
    for line in table.lines() {
        out.push_str(line.trim());
        out.push('\n');
    }
    out.push('\n');
}
