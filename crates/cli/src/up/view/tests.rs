//! Pictures of the view on a terminal in memory.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::up::snapshot::{MemberStatus, Vote};

fn member(name: &str, port: u16, state: MemberState) -> MemberStatus {
    MemberStatus {
        name: name.into(),
        address: format!("127.0.0.1:{port}"),
        port,
        pid: Some(4_000_000),
        state,
        end: None,
        config: String::new(),
        log: String::new(),
    }
}

fn snapshot() -> Snapshot {
    let node = |name: &str, port, master: bool| NodeStatus {
        member: member(name, port, MemberState::Running),
        role: Some(if master { "master" } else { "replica" }.into()),
        follows: (!master).then(|| "node-1".into()),
        link: (!master).then(|| "up".into()),
        link_down_seconds: None,
        offset: Some(1_234_567_890),
        lag_bytes: (!master).then_some(14),
        lag_seconds: (!master).then_some(1),
        connected_replicas: Some(if master { 2 } else { 0 }),
    };
    let sentinel = |n: u16| SentinelStatus {
        member: member(&format!("sentinel-{n}"), 26378 + n, MemberState::Running),
        master_address: Some("127.0.0.1:6379".into()),
        master: Some("node-1".into()),
        sdown: Some(true),
        odown: Some(n == 1),
        failover: (n == 1).then(|| "wait_promotion".into()),
        config_epoch: Some(1),
        current_epoch: Some(2),
        vote: Some(Vote { leader: "sentinel-1".into(), epoch: 2 }),
        quorum: Some(2),
        known_sentinels: Some(2),
        known_replicas: Some(2),
        down: Some(0),
    };
    let mut paused = node("node-3", 6381, false);
    paused.member.state = MemberState::Paused;
    Snapshot {
        dir: "/somewhere/redoubt-data".into(),
        pid: 1,
        ready: false,
        ready_at: None,
        waiting_for: vec!["node-3: paused".into(), "sentinel-1: s_down".into()],
        master_name: "mymaster".into(),
        master: Some("node-1".into()),
        master_address: Some("127.0.0.1:6379".into()),
        password: false,
        nodes: vec![node("node-1", 6379, true), node("node-2", 6380, false), paused],
        sentinels: (1..=3).map(sentinel).collect(),
        events: Vec::new(),
    }
}

fn picture(width: u16, height: u16, state: &mut ViewState) -> Vec<String> {
    let names = BTreeMap::from([("6379".to_owned(), "node-1".to_owned())]);
    let events: VecDeque<Event> = (0..100)
        .map(|n| Event {
            at: n,
            source: "sentinel-1".into(),
            text: format!("+odown master mymaster 127.0.0.1 6379 #quorum {n}/2"),
        })
        .collect();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| paint(frame, &snapshot(), &events, &names, state, false)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let row = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
    (0..height).map(|y| row(y).trim_end().to_owned()).collect()
}

#[test]
fn everything_fits_into_80_columns() {
    let mut state = ViewState { selected: 1, ..ViewState::default() };
    let lines = picture(80, 24, &mut state);
    assert_eq!(
        lines[0],
        "redoubt up  master node-1 127.0.0.1:6379  waiting for node-3: paused and 1 more "
            .trim_end()
    );
    assert_eq!(lines[2], "  NODE     PORT  PROCESS  ROLE    LINK              OFFSET       BEHIND");
    assert_eq!(lines[3], "  node-1   6379  running  master  2 replicas        1234567890   -");
    assert_eq!(
        lines[4],
        "› node-2   6380  running  replica node-1 up         1234567890   14 B, 1 s"
    );
    assert!(lines[5].contains("paused"));
    assert_eq!(
        lines[8],
        "  sentinel-1 26379 running  node-1   odown wait_promotion 2     sentinel-1 (2)"
    );
    assert_eq!(lines[22], "00:00:00.099 sentinel-1 +odown node-1 #quorum 99/2");
    assert!(
        lines[23].starts_with("↑↓ select") && lines[23].ends_with("q stop all"),
        "{}",
        lines[23]
    );
}

#[test]
fn more_room_shows_more() {
    let lines = picture(140, 40, &mut ViewState::default());
    assert!(lines[2].contains("PID") && lines[2].contains("HOW IT ENDED"));
    assert!(lines[7].contains("KNOWS"));
    assert!(lines[8].contains("2+2"));
    assert!(lines[0].ends_with("/somewhere/redoubt-data"));
}

#[test]
fn tiny_terminals_do_no_harm() {
    for (width, height) in [(1, 1), (10, 3), (20, 8), (80, 10)] {
        let mut state = ViewState { hints: true, ..ViewState::default() };
        picture(width, height, &mut state);
    }
}

#[test]
fn keys() {
    let mut state = ViewState::default();
    let press = |state: &mut ViewState, code| state.key(KeyEvent::from(code), 6);
    assert_eq!(press(&mut state, KeyCode::Up), None);
    for _ in 0..9 {
        press(&mut state, KeyCode::Down);
    }
    assert_eq!(press(&mut state, KeyCode::Char('k')), Some(Action::Kill(5)));
    press(&mut state, KeyCode::Up);
    assert_eq!(press(&mut state, KeyCode::Char('p')), Some(Action::PauseOrResume(4)));
    assert_eq!(press(&mut state, KeyCode::Char('s')), Some(Action::Start(4)));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Some(Action::Quit));
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(state.key(control_c, 6), Some(Action::Quit));
    assert_eq!(press(&mut state, KeyCode::Char('c')), None);
    // The time line scrolls no further than its beginning.
    press(&mut state, KeyCode::Home);
    let lines = picture(80, 24, &mut state);
    assert!(lines.iter().any(|line| line.contains("#quorum 0/2")));
    assert_eq!(state.back, 100 - state.page);
    press(&mut state, KeyCode::End);
    assert_eq!(state.back, 0);
    press(&mut state, KeyCode::Char('t'));
    let lines = picture(100, 40, &mut state);
    assert!(lines.iter().any(|line| line.contains("redis-cli -p 6379 set greeting hello")));
}
