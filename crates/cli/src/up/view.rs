//! The live view in the terminal: nodes, sentinels, time line, and keys to break things.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::mpsc::Sender;

use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Clear, Paragraph, Row, Table, TableState, Wrap};
use ratatui::{DefaultTerminal, Frame};

use super::event::{Event, time_of_day};
use super::hints;
use super::layout;
use super::model::shorten;
use super::snapshot::{MemberState, NodeStatus, SentinelStatus, Snapshot, pid_text};
use super::supervisor::Message;

/// From this width on there is room for more columns.
const WIDE: u16 = 110;

/// What a key asks for; members by index, nodes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Stop everything.
    Quit,
    /// SIGKILL
    Kill(usize),
    /// SIGSTOP, or SIGCONT for one that is stopped.
    PauseOrResume(usize),
    /// Start again.
    Start(usize),
}

/// The terminal, while the view is open. Dropping it gives the terminal back.
pub struct View {
    terminal: DefaultTerminal,
    state: ViewState,
}

/// What the keys have changed.
#[derive(Clone, Debug, Default, PartialEq)]
struct ViewState {
    /// Selected member: nodes first, then sentinels.
    selected: usize,
    /// How many events of the time line are scrolled away at its end.
    back: usize,
    /// Height of the time line when it was last drawn.
    page: usize,
    /// The lines to try are shown.
    hints: bool,
    /// Why the last key did nothing.
    message: String,
}

impl View {
    /// Takes the terminal; keys go to the supervisor.
    pub fn open(to: Sender<Message>) -> io::Result<View> {
        let terminal = ratatui::try_init()?;
        std::thread::spawn(move || {
            while let Ok(event) = event::read() {
                let message = match event {
                    event::Event::Key(key) if key.kind != KeyEventKind::Release => {
                        Message::Key(key)
                    }
                    event::Event::Resize(..) => Message::Resize,
                    _ => continue,
                };
                if to.send(message).is_err() {
                    return;
                }
            }
        });
        Ok(View { terminal, state: ViewState::default() })
    }

    /// Paints everything.
    pub fn draw(
        &mut self,
        snapshot: &Snapshot,
        events: &VecDeque<Event>,
        names: &BTreeMap<String, String>,
        stopping: bool,
    ) -> io::Result<()> {
        let state = &mut self.state;
        self.terminal.draw(|frame| paint(frame, snapshot, events, names, state, stopping))?;
        Ok(())
    }

    /// What a key asks the supervisor to do; `None` if it only changes the view.
    pub fn key(&mut self, key: KeyEvent, members: usize) -> Option<Action> {
        self.state.key(key, members)
    }

    /// Shows a sentence at the bottom until the next key.
    pub fn set_message(&mut self, message: String) {
        self.state.message = message;
    }
}

impl Drop for View {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

impl ViewState {
    fn key(&mut self, key: KeyEvent, members: usize) -> Option<Action> {
        self.message.clear();
        let page = self.page.saturating_sub(1).max(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Some(Action::Quit);
            }
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Esc if self.hints => self.hints = false,
            KeyCode::Char('t') => self.hints = !self.hints,
            KeyCode::Char('k') => return Some(Action::Kill(self.selected)),
            KeyCode::Char('p') => return Some(Action::PauseOrResume(self.selected)),
            KeyCode::Char('s') => return Some(Action::Start(self.selected)),
            KeyCode::Up => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down => self.selected = (self.selected + 1).min(members.saturating_sub(1)),
            KeyCode::PageUp => self.back = self.back.saturating_add(page),
            KeyCode::PageDown => self.back = self.back.saturating_sub(page),
            KeyCode::Home => self.back = usize::MAX,
            KeyCode::End => self.back = 0,
            _ => {}
        }
        None
    }
}

fn paint(
    frame: &mut Frame<'_>,
    snapshot: &Snapshot,
    events: &VecDeque<Event>,
    names: &BTreeMap<String, String>,
    state: &mut ViewState,
    stopping: bool,
) {
    let area = frame.area();
    // The time line keeps a few lines whatever happens; the tables scroll when they have to.
    let for_tables = area.height.saturating_sub(2 + 4) / 2;
    let height = |rows: usize| (rows as u16 + 2).min(for_tables.max(3));
    let [head, nodes, sentinels, line, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(height(snapshot.nodes.len())),
        Constraint::Length(height(snapshot.sentinels.len())),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head_line(snapshot, stopping)), head);
    let count = snapshot.nodes.len();
    paint_nodes(frame, nodes, snapshot, Some(state.selected).filter(|index| *index < count));
    paint_sentinels(frame, sentinels, snapshot, state.selected.checked_sub(count));
    paint_events(frame, line, events, names, state);
    let foot_line = if state.message.is_empty() {
        keys_line(area.width)
    } else {
        Line::styled(state.message.clone(), Style::new().fg(Color::Yellow))
    };
    frame.render_widget(Paragraph::new(foot_line), foot);
    if state.hints {
        paint_hints(frame, area, snapshot);
    }
}

fn head_line(snapshot: &Snapshot, stopping: bool) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut spans = vec![Span::styled("redoubt up", bold), Span::raw("  ")];
    match (&snapshot.master, &snapshot.master_address) {
        (Some(name), Some(address)) => {
            spans.push(Span::raw(format!("master {name} {address}  ")));
        }
        _ => spans.push(Span::styled("no agreed master  ", Style::new().fg(Color::Red))),
    }
    spans.push(if stopping {
        Span::styled("stopping; q again kills what is left", Style::new().fg(Color::Yellow))
    } else if snapshot.ready {
        Span::styled("ready", Style::new().fg(Color::Green).add_modifier(Modifier::BOLD))
    } else {
        let what = match snapshot.waiting_for.as_slice() {
            [first] => first.clone(),
            [first, rest @ ..] => format!("{first} and {} more", rest.len()),
            [] => String::new(),
        };
        Span::styled(format!("waiting for {what}"), Style::new().fg(Color::Yellow))
    });
    spans.push(Span::styled(
        format!("  {}", layout::display(snapshot.dir.as_ref())),
        Style::new().fg(Color::DarkGray),
    ));
    Line::from(spans)
}

fn keys_line(width: u16) -> Line<'static> {
    let keys: &[(&str, &str)] = &[
        ("↑↓", "select"),
        ("k", "kill"),
        ("p", "pause/resume"),
        ("s", "start"),
        ("t", "try it"),
        ("PgUp", "older"),
        ("q", "stop all"),
    ];
    let gap = if width >= WIDE { "   " } else { "  " };
    let mut spans = Vec::new();
    for (key, meaning) in keys {
        spans.push(Span::styled(*key, Style::new().add_modifier(Modifier::BOLD)));
        spans.push(Span::raw(format!(" {meaning}{gap}")));
    }
    Line::from(spans)
}

fn titled(title: String) -> Block<'static> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().fg(Color::DarkGray))
        .title(Span::styled(title, Style::new().add_modifier(Modifier::BOLD)))
}

fn paint_table(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    columns: &[(&'static str, Constraint)],
    rows: Vec<Vec<Cell<'static>>>,
    selected: Option<usize>,
) {
    let header =
        Row::new(columns.iter().map(|(name, _)| *name)).style(Style::new().fg(Color::DarkGray));
    let table = Table::new(
        rows.into_iter().map(Row::new),
        columns.iter().map(|(_, width)| *width).collect::<Vec<_>>(),
    )
    .header(header)
    .column_spacing(1)
    .block(titled(title.into()))
    .highlight_symbol("› ")
    .highlight_spacing(ratatui::widgets::HighlightSpacing::Always)
    .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

fn state_cell(state: MemberState) -> Cell<'static> {
    let color = match state {
        MemberState::Running => Color::Green,
        MemberState::Killed | MemberState::Exited => Color::Red,
        MemberState::Paused | MemberState::Silent => Color::Magenta,
        MemberState::Starting | MemberState::Loading => Color::Yellow,
        MemberState::NotStarted => Color::DarkGray,
    };
    Cell::from(state.word()).style(Style::new().fg(color))
}

fn paint_nodes(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, selected: Option<usize>) {
    use Constraint::{Fill, Length, Min};
    let wide = area.width >= WIDE;
    let mut columns = vec![
        ("NODE", Length(8)),
        ("PORT", Length(5)),
        ("PROCESS", Length(8)),
        ("ROLE", Length(7)),
        ("LINK", Length(if wide { 20 } else { 17 })),
        ("OFFSET", Length(if wide { 14 } else { 12 })),
        ("BEHIND", Min(12)),
    ];
    if wide {
        columns.insert(2, ("PID", Length(8)));
        columns.push(("HOW IT ENDED", Fill(1)));
    }
    let row = |node: &NodeStatus| {
        let is_master = snapshot.master.as_ref() == Some(&node.member.name);
        let role_style = match (node.role.as_deref(), is_master) {
            (Some("master"), true) => Style::new().fg(Color::Green).add_modifier(Modifier::BOLD),
            // A second master is on its way to become a replica.
            (Some("master"), false) => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        let link_style = match node.link.as_deref() {
            Some("down") => Style::new().fg(Color::Red),
            Some("sync") => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        let mut cells = vec![
            Cell::from(node.member.name.clone()),
            Cell::from(node.member.port.to_string()),
            state_cell(node.member.state),
            Cell::from(node.role_text().to_owned()).style(role_style),
            Cell::from(node.link_text()).style(link_style),
            Cell::from(node.offset_text()),
            Cell::from(node.lag_text()),
        ];
        if wide {
            cells.insert(2, Cell::from(pid_text(node.member.pid)));
            cells.push(Cell::from(node.member.end.clone().unwrap_or_default()));
        }
        cells
    };
    paint_table(
        frame,
        area,
        "data nodes ",
        &columns,
        snapshot.nodes.iter().map(row).collect(),
        selected,
    );
}

fn paint_sentinels(
    frame: &mut Frame<'_>,
    area: Rect,
    snapshot: &Snapshot,
    selected: Option<usize>,
) {
    use Constraint::{Fill, Length, Min};
    let wide = area.width >= WIDE;
    let mut columns = vec![
        ("SENTINEL", Length(10)),
        ("PORT", Length(5)),
        ("PROCESS", Length(8)),
        ("MASTER", Length(8)),
        ("SAYS IT IS", Length(if wide { 24 } else { 20 })),
        ("EPOCH", Length(5)),
        ("VOTED FOR", Length(if wide { 16 } else { 15 })),
    ];
    if wide {
        columns.insert(2, ("PID", Length(8)));
        columns.push(("KNOWS", Min(14)));
        columns.push(("HOW IT ENDED", Fill(1)));
    }
    let row = |sentinel: &SentinelStatus| {
        let opinion = match (sentinel.odown, sentinel.sdown) {
            (Some(true), _) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            (_, Some(true)) => Style::new().fg(Color::Yellow),
            _ => Style::new(),
        };
        let agrees = sentinel.master.is_none() || sentinel.master == snapshot.master;
        let master = if agrees { Style::new() } else { Style::new().fg(Color::Yellow) };
        let epoch = sentinel.current_epoch.map_or("-".into(), |epoch| epoch.to_string());
        let mut cells = vec![
            Cell::from(sentinel.member.name.clone()),
            Cell::from(sentinel.member.port.to_string()),
            state_cell(sentinel.member.state),
            Cell::from(sentinel.master_text()).style(master),
            Cell::from(sentinel.opinion()).style(opinion),
            Cell::from(epoch),
            Cell::from(sentinel.vote_text()),
        ];
        if wide {
            cells.insert(2, Cell::from(pid_text(sentinel.member.pid)));
            cells.push(Cell::from(sentinel.sees()));
            cells.push(Cell::from(sentinel.member.end.clone().unwrap_or_default()));
        }
        cells
    };
    let rows = snapshot.sentinels.iter().map(row).collect();
    paint_table(frame, area, "sentinels ", &columns, rows, selected);
}

fn paint_events(
    frame: &mut Frame<'_>,
    area: Rect,
    events: &VecDeque<Event>,
    names: &BTreeMap<String, String>,
    state: &mut ViewState,
) {
    let rows = usize::from(area.height.saturating_sub(1));
    state.page = rows;
    state.back = state.back.min(events.len().saturating_sub(rows));
    let title = match state.back {
        0 => "time line (UTC) ".to_owned(),
        back => format!("time line (UTC), {back} later ones below "),
    };
    let end = events.len() - state.back;
    let lines: Vec<Line<'static>> =
        events.range(end.saturating_sub(rows)..end).map(|event| event_line(event, names)).collect();
    frame.render_widget(Paragraph::new(lines).block(titled(title)), area);
}

fn event_line(event: &Event, names: &BTreeMap<String, String>) -> Line<'static> {
    let text = shorten(&event.text, names);
    let word = text.split(' ').next().unwrap_or_default();
    let color = match word {
        "+odown" | "+tilt" => Color::Red,
        _ if word.starts_with("-failover-abort") => Color::Red,
        "+switch-master" | "ready:" => Color::Green,
        "+sdown" | "+try-failover" | "+failover-end-for-timeout" => Color::Yellow,
        _ if event.source == "up" || !word.starts_with(['+', '-']) => Color::Cyan,
        _ => Color::Reset,
    };
    Line::from(vec![
        Span::styled(time_of_day(event.at), Style::new().fg(Color::DarkGray)),
        Span::raw(format!(" {:<10} ", event.source)),
        Span::styled(text, Style::new().fg(color)),
    ])
}

fn paint_hints(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot) {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for hint in hints::lines(snapshot) {
        lines.push(Line::raw(hint));
    }
    let width = area.width.saturating_sub(4);
    let text_width = usize::from(width.saturating_sub(2)).max(1);
    let rows: usize = lines.iter().map(|line| line.width().div_ceil(text_width).max(1) + 1).sum();
    let height = (rows as u16 + 2).min(area.height);
    let place = Rect {
        x: area.x + 2.min(area.width),
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    let block = Block::bordered().title(" to type in another shell (t closes this) ");
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), place);
}

#[cfg(test)]
mod tests;
