//! ACL rules: any file is read or refused with a reason, and what was read is shown in a form that
//! makes the same user again.
#![no_main]

use acl::{Catalog, CatalogEntry};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let entry = |(id, command): (usize, &'static commands::Command<commands::DataFn>)| CatalogEntry {
        id,
        name: command.spec.name,
        categories: command.spec.categories(),
        subcommands: Vec::new(),
        is_sub: false,
    };
    Catalog::new(commands::all().enumerate().map(entry).collect())
});

fuzz_target!(|text: &[u8]| {
    match acl::parse_file(text, "/users", false, &CATALOG) {
        Err(errors) => assert!(!errors.is_empty()),
        Ok(users) => {
            let show = |users: &std::collections::BTreeMap<Vec<u8>, acl::User>| {
                acl::show_users(users.iter().map(|(name, user)| (name.as_slice(), user))).join(&b'\n')
            };
            let shown = show(&users);
            // Quotes inside a selector's patterns are lost in files, as in Redis's.
            if !shown.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'(' | b')')) {
                let again = acl::parse_file(&shown, "/users", false, &CATALOG);
                assert_eq!(again.map(|users| show(&users)), Ok(shown));
            }
        }
    }
});
