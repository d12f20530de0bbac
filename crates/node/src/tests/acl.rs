//! Users on a whole node: admission, transactions, waits, files, ACL LOG, and what becomes of
//! connections. The rules themselves are tested in the crate `acl`.

use crate::testkit::Kit;
use crate::{Message, Session};
use config::{LoadError, SourceLine, Text};

fn login(kit: &mut Kit, rules: &str) -> Session {
    assert_eq!(kit.line(&format!("acl setuser ann reset on >pw {rules}")), "+OK");
    let mut session = kit.connect();
    assert_eq!(kit.line_of(&mut session, "auth ann pw"), "+OK");
    session
}

#[test]
fn replies() {
    let mut kit = Kit::default();
    let hash = "a".repeat(64);
    kit.check(&[
        ("acl whoami", "$7 default"),
        ("acl list", "*1 $51 user default on nopass sanitize-payload ~* &* +@all"),
        ("acl setuser ann on ~a* +get", "+OK"),
        (&format!("acl setuser ann #{hash}"), "+OK"),
        ("acl users", "*2 $3 ann $7 default"),
        (
            "acl getuser ann",
            &format!("*12 $5 flags *2 $2 on $16 sanitize-payload $9 passwords *1 $64 {hash} $8 commands $10 -@all +get $4 keys $3 ~a* $8 channels $0  $9 selectors *0"),
        ),
        ("acl getuser bob", "$-1"),
        ("acl setuser \"a b\"", "-ERR Usernames can't contain spaces or null characters"),
        ("acl setuser ann on bogus", "-ERR Error in ACL SETUSER modifier 'bogus': Syntax error"),
        ("acl setuser ann (+get", "-ERR Unmatched parenthesis in acl selector starting at '(+get'."),
        ("acl dryrun bob get a", "-ERR User 'bob' not found"),
        ("acl dryrun ann foo a", "-ERR Command 'foo' not found"),
        ("acl dryrun ann config foo", "-ERR Command 'config' not found"),
        ("acl dryrun ann get", "-ERR wrong number of arguments for 'get' command"),
        ("acl dryrun ann get a", "+OK"),
        ("acl dryrun ann get b", "$49 User ann has no permissions to access the 'b' key"),
        ("acl dryrun ann set a 1", "$52 User ann has no permissions to run the 'set' command"),
        ("acl deluser default", "-ERR The 'default' user cannot be removed"),
        ("acl deluser ann nobody", ":1"),
        ("acl genpass 5", "$2 01"),
        ("acl genpass 0", "-ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096"),
        ("acl cat transaction", "*5 $5 multi $4 exec $7 discard $5 watch $7 unwatch"),
        ("acl cat foo", "-ERR Unknown category 'foo'"),
        ("acl log", "*0"),
        ("acl log 1 2", "-ERR unknown subcommand or wrong number of arguments for 'log'. Try ACL HELP."),
        ("client kill user ann", "-ERR No such user 'ann'"),
    ]);
}

#[test]
fn admission() {
    let mut kit = Kit::default();
    let mut ann = login(&mut kit, "~a* &news +@all -@dangerous");
    let table = [
        ("set a 1", "+OK"),
        ("set b 1", "-NOPERM No permissions to access a key"),
        ("keys *", "-NOPERM User ann has no permissions to run the 'keys' command"),
        ("config get x", "-NOPERM User ann has no permissions to run the 'config|get' command"),
        ("publish other m", "-NOPERM No permissions to access a channel"),
        ("publish news m", ":0"),
        ("multi", "+OK"),
        ("set b 1", "-NOPERM No permissions to access a key"),
        ("exec", "-EXECABORT Transaction discarded because of previous errors."),
        ("acl whoami", "$3 ann"),
        ("reset", "+RESET"),
        ("acl whoami", "$7 default"),
    ];
    for (line, reply) in table {
        assert_eq!(kit.line_of(&mut ann, line), reply, "{line}");
    }
    let stats = kit.text("info stats");
    for field in ["cmd:2", "key:2", "channel:1", "auth:0"] {
        assert!(stats.contains(&format!("acl_access_denied_{field}\r\n")), "{field}");
    }
    assert!(
        kit.text("info commandstats")
            .contains("cmdstat_keys:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1")
    );
}

#[test]
fn a_transaction_is_judged_again() {
    let mut kit = Kit::default();
    let mut ann = login(&mut kit, "~* +@all");
    for line in ["multi", "set a 1", "get a"] {
        kit.line_of(&mut ann, line);
    }
    kit.line("acl setuser ann -set");
    assert_eq!(
        kit.line_of(&mut ann, "exec"),
        "*2 -NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
         This command is no longer allowed for the following reason: no permission to execute the command or subcommand $-1"
    );
    let log = kit.line("acl log");
    assert!(
        log.contains(
            "$6 reason $7 command $7 context $5 multi $6 object $3 set $8 username $3 ann"
        ),
        "{log}"
    );
}

#[test]
fn a_wait_is_judged_again() {
    let mut kit = Kit::default();
    let mut ann = login(&mut kit, "~* +@all");
    assert_eq!(kit.line_of(&mut ann, "blpop q 0"), "");
    kit.line("acl setuser ann resetkeys");
    kit.messages();
    assert_eq!(kit.line("rpush q x"), ":1");
    let answers: Vec<String> = kit
        .messages()
        .into_iter()
        .filter_map(|message| match message {
            Message::Unblock { bytes, .. } => Some(String::from_utf8_lossy(&bytes).into_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(answers, ["-NOPERM No permissions to access a key\r\n"]);
    assert_eq!(kit.line("llen q"), ":1");
}

#[test]
fn changes_hold_at_once_and_the_deleted_are_closed() {
    let mut kit = Kit::default();
    let mut ann = login(&mut kit, "~* +@all &a");
    assert_eq!(kit.line_of(&mut ann, "subscribe a"), "*3 $9 subscribe $1 a :1");
    kit.messages();
    kit.line("acl setuser ann -ping &b");
    assert!(kit.messages().is_empty(), "no channel was lost");
    assert_eq!(
        kit.line_of(&mut ann, "ping"),
        "-NOPERM User ann has no permissions to run the 'ping' command"
    );
    kit.line("acl setuser ann resetchannels &b");
    let id = ann.id();
    assert!(
        kit.messages()
            .iter()
            .any(|m| matches!(m, Message::CheckChannels { client } if *client == id))
    );
    assert!(!kit.node.may_listen_on(&ann));
    assert_eq!(kit.line("acl deluser ann"), ":1");
    assert!(
        kit.messages().iter().any(|m| matches!(m, Message::Close { client, .. } if *client == id))
    );
    // Until it is closed it may nothing.
    assert!(kit.line_of(&mut ann, "get x").starts_with("-NOPERM"));
}

#[test]
fn passwords_of_default() {
    let mut kit = Kit::new(|config| config.requirepass = Text::from(&b"one"[..]));
    let (mut other, mut hello) = (kit.connect(), kit.connect());
    kit.check(&[
        ("get a", "-NOAUTH Authentication required."),
        ("auth two", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("auth default one", "+OK"),
        ("config set requirepass \"\"", "+OK"),
        ("auth one", "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"),
        ("acl setuser default off", "+OK"),
    ]);
    assert_eq!(kit.line_of(&mut other, "get a"), "-NOAUTH Authentication required.");
    assert!(kit.line_of(&mut hello, "hello 2").starts_with("-NOAUTH HELLO must be called"));
    kit.line("acl setuser default on");
    assert_eq!(kit.line_of(&mut other, "get a"), "$-1");
    let log = kit.line("acl log");
    assert!(log.starts_with("*1 *20 $5 count :1 $6 reason $4 auth $7 context $8 toplevel $6 object $4 auth $8 username $7 default"), "{log}");
}

#[test]
fn log_is_as_long_as_it_may_be() {
    let mut kit = Kit::default();
    for line in ["multi", "auth nobody x", "exec"] {
        kit.line(line);
    }
    assert!(
        kit.line("acl log").contains("$6 reason $4 auth $7 context $5 multi $6 object $4 auth")
    );
    kit.line("acl log reset");
    let mut ann = login(&mut kit, "~* +@all -get -set");
    kit.line_of(&mut ann, "get a");
    kit.advance(1500);
    kit.line_of(&mut ann, "get b");
    kit.line_of(&mut ann, "set a 1");
    let log = kit.line("acl log 1");
    assert!(
        log.starts_with(
            "*1 *20 $5 count :1 $6 reason $7 command $7 context $8 toplevel $6 object $3 set"
        ),
        "{log}"
    );
    assert!(kit.line("acl log").contains("$5 count :2"));
    kit.line("config set acllog-max-len 1");
    kit.line_of(&mut ann, "set a 1");
    assert!(kit.line("acl log").starts_with("*2 "), "only a new entry shortens it");
    kit.check(&[("acl log reset", "+OK"), ("acl log", "*0")]);
}

#[test]
fn files() {
    let mut kit = Kit::new(|config| config.aclfile = Text::from(&b"/users"[..]));
    let ann = login(&mut kit, "~* +@all");
    assert_eq!(
        kit.line("acl load"),
        "-ERR Error loading ACLs, opening file '/users': No such file or directory"
    );
    assert_eq!(kit.line("acl save"), "+OK");
    let text = crate::lock(&kit.notes).acl_files["/users"].clone();
    let text = String::from_utf8(text).expect("text");
    assert!(
        text.starts_with("user ann on sanitize-payload #") && text.lines().count() == 2,
        "{text}"
    );
    kit.messages();
    kit.check(&[("acl load", "+OK")]);
    assert!(kit.messages().is_empty(), "who is still there stays");
    let put = |kit: &Kit, text: &str| {
        crate::lock(&kit.notes).acl_files.insert("/users".into(), text.as_bytes().to_vec());
    };
    put(&kit, "user bob on\nfoo\n");
    assert!(kit.line("acl load").starts_with("-ERR /users:2 should start with user keyword"));
    assert_eq!(kit.line("acl users"), "*2 $3 ann $7 default");
    put(&kit, "user bob on\n");
    kit.check(&[("acl load", "+OK"), ("acl users", "*2 $3 bob $7 default")]);
    let id = ann.id();
    assert!(
        kit.messages().iter().any(|m| matches!(m, Message::Close { client, .. } if *client == id))
    );
    kit.check(&[("config rewrite", "+OK")]);
    assert!(!crate::lock(&kit.notes).config_file.contains("user "));
}

fn user_line(number: usize, text: &str) -> SourceLine {
    let words = text.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    SourceLine { number, text: Text::from(text.as_bytes()), words }
}

#[test]
fn lines_of_the_configuration() {
    let mut kit = Kit::default();
    let lines =
        [user_line(1, "user ann on >pw (+get ~a) +set"), user_line(2, "user default on >x +@all")];
    kit.node.load_users_at_start(&lines).expect("good lines");
    assert_eq!(kit.line("acl users"), "*2 $3 ann $7 default");
    kit.line("config rewrite");
    let text = crate::lock(&kit.notes).config_file.clone();
    assert!(text.contains("\nuser ann on sanitize-payload #") && !text.contains(">pw"), "{text}");
    let error = kit.node.load_users_at_start(&[user_line(1, "user bob +foo")]).unwrap_err();
    assert_eq!(error, "Critical error while loading ACLs. Exiting.");
    assert!(kit.calls().contains(&"log 3 Error loading ACL rule '+foo' for the user named 'bob': Unknown command or category name in ACL".to_string()));
    let config = &kit.node.settings.load_full().config;
    assert_eq!(crate::check_user_lines(&[user_line(1, "user bob +foo")], config), Ok(()));
    let Err(LoadError::Line { number: 7, reason, .. }) =
        crate::check_user_lines(&[user_line(7, "user bob on bogus")], config)
    else {
        panic!("a line's error")
    };
    assert_eq!(reason, "Error in user declaration 'bob': Syntax error");
}
