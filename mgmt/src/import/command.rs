//! Statements as commands: which menu, what is done there, with which words.
//!
//! A line that only changes the menu is no command. Everything else is, what cannot be read
//! included, so that each has an answer in the report.

use super::lex::{Statement, Value, Word};

/// The deepest menu.
const DEPTH_MAX: usize = 12;

/// Menus at the top that no other menu holds, so that a path which begins with one is whole even
/// without its slash.
const TOP: &[&str] = &[
    "interface",
    "ip",
    "ipv6",
    "ppp",
    "queue",
    "radius",
    "routing",
    "snmp",
    "system",
    "tool",
    "user",
];

/// One command of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The line on which it begins.
    pub line: u32,
    /// Its text on one line.
    pub text: String,
    /// What was wrong with it and read nevertheless.
    pub slips: Vec<String>,
    /// The `#` lines that belong to it.
    pub comments: Vec<String>,
    /// What it does.
    pub does: Does,
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Does {
    /// It changes what a menu holds.
    Edit {
        /// The menu, its words with blanks between them: `ip firewall filter`.
        menu: String,
        /// How.
        verb: Verb,
        /// The words behind the verb.
        words: Vec<Word>,
    },
    /// It shows something, and changes nothing that an import could carry over.
    Show,
    /// It cannot be read as a command; the reason.
    Unclear(String),
}

/// How a command changes a menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A new item.
    Add,
    /// Properties of items, or of the menu itself.
    Set,
    /// Properties of items go back to what they are without being written.
    Unset,
    /// Items go.
    Remove,
    /// Items go elsewhere in the order.
    Move,
    /// Items count again.
    Enable,
    /// Items stay and do not count.
    Disable,
    /// The comment of items.
    Comment,
}

enum Act {
    Edit(Verb),
    Show,
    Other,
}

fn act(word: &str) -> Option<Act> {
    Some(match word {
        "add" => Act::Edit(Verb::Add),
        "set" => Act::Edit(Verb::Set),
        "unset" => Act::Edit(Verb::Unset),
        "remove" => Act::Edit(Verb::Remove),
        "move" => Act::Edit(Verb::Move),
        "enable" => Act::Edit(Verb::Enable),
        "disable" => Act::Edit(Verb::Disable),
        "comment" => Act::Edit(Verb::Comment),
        "print" | "export" | "monitor" | "get" | "find" | "reset-counters"
        | "reset-counters-all" => Act::Show,
        "edit" | "import" | "reset" => Act::Other,
        _ => return None,
    })
}

/// The commands among `statements`, in order; `tail` is given the comments that no command has.
pub fn commands(statements: Vec<Statement>, tail: &mut Vec<String>) -> Vec<Command> {
    let mut menu: Vec<String> = Vec::new();
    let mut waiting = Vec::new();
    let mut found = Vec::new();
    for mut statement in statements {
        waiting.append(&mut statement.comments);
        if let Some(shown) = &statement.prompt {
            menu = path(shown);
        }
        let Some(does) = read(&mut menu, &statement) else {
            continue;
        };
        found.push(Command {
            line: statement.line,
            text: statement.text,
            slips: statement.slips,
            comments: std::mem::take(&mut waiting),
            does,
        });
    }
    waiting.append(tail);
    *tail = waiting;
    found
}

fn path(text: &str) -> Vec<String> {
    let parts = text.split(['/', ' ']).filter(|p| !p.is_empty());
    parts.map(str::to_owned).collect()
}

/// What a statement does; `None` if it only changes the menu.
fn read(menu: &mut Vec<String>, statement: &Statement) -> Option<Does> {
    let words = &statement.words;
    let first = words.first()?;
    let script = |text: &str| text.starts_with([':', '{', '}', ')', ']']);
    if first.key.is_some() {
        return Some(Does::Unclear(
            "it begins with a property; write a command (add, set …) in front".to_owned(),
        ));
    }
    if script(first.value.text()) || matches!(first.value, Value::Script(_)) {
        return Some(Does::Unclear(
            "it is part of a script, which only RouterOS can run".to_owned(),
        ));
    }
    let mut here = menu.clone();
    let mut begun = false;
    for (index, word) in words.iter().enumerate() {
        let Value::Plain(text) = &word.value else {
            return Some(Does::Unclear(format!(
                "there is no command (add, set …) before `{}`",
                super::report::cut(word.value.text())
            )));
        };
        if word.key.is_some() {
            return Some(Does::Unclear(
                "there is no command (add, set …) before its properties".to_owned(),
            ));
        }
        let whole = text.starts_with('/') || (!begun && TOP.contains(&text.as_str()));
        if whole {
            here.clear();
        }
        begun = true;
        for part in text.split('/').filter(|p| !p.is_empty()) {
            match act(part) {
                Some(Act::Edit(verb)) => {
                    return Some(Does::Edit {
                        menu: here.join(" "),
                        verb,
                        words: words.get(index + 1..).unwrap_or_default().to_vec(),
                    });
                }
                Some(Act::Show) => return Some(Does::Show),
                Some(Act::Other) => {
                    return Some(Does::Unclear(format!("`{part}` cannot be carried over")));
                }
                None if part == ".." => {
                    here.pop();
                }
                None => here.push(part.to_owned()),
            }
        }
        if here.len() > DEPTH_MAX {
            return Some(Does::Unclear("it is not a command of RouterOS".to_owned()));
        }
    }
    let named = |part: &String| {
        part.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let begins = words.first().map_or("", |w| w.value.text());
    let rooted = here.first().is_none_or(|top| is_top(top));
    if !here.iter().all(named) || !rooted || !(begins.starts_with('/') || here.len() < 6) {
        return Some(Does::Unclear("it is not a command of RouterOS".to_owned()));
    }
    *menu = here;
    None
}

/// Whether a menu of this name stands at the top of RouterOS's tree.
fn is_top(name: &str) -> bool {
    const OTHERS: &[&str] = &[
        "app",
        "caps-man",
        "certificate",
        "console",
        "container",
        "disk",
        "dude",
        "file",
        "iot",
        "log",
        "lora",
        "mpls",
        "openflow",
        "partitions",
        "port",
        "special-login",
        "store",
        "task",
        "user-manager",
        "zerotier",
    ];
    TOP.contains(&name) || OTHERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::lex;

    fn read_all(text: &str) -> Vec<Command> {
        let (found, mut tail) = lex::statements(text);
        commands(found, &mut tail)
    }

    fn menus(text: &str) -> Vec<String> {
        let show = |c: &Command| match &c.does {
            Does::Edit { menu, verb, words } => format!("{menu}: {verb:?} {}", words.len()),
            Does::Show => "show".to_owned(),
            Does::Unclear(_) => "unclear".to_owned(),
        };
        read_all(text).iter().map(show).collect()
    }

    #[test]
    fn a_header_holds_until_the_next() {
        assert_eq!(
            menus(
                "/ip firewall filter\nadd a=b\nadd c=d\n/ip firewall\nnat add e=f\n/\n\
                 ip route add g=h"
            ),
            [
                "ip firewall filter: Add 1",
                "ip firewall filter: Add 1",
                "ip firewall nat: Add 1",
                "ip route: Add 1"
            ]
        );
    }

    #[test]
    fn a_one_line_command_does_not_change_the_menu() {
        assert_eq!(
            menus("/ip address\n/ip firewall filter add a=b\nadd c=d\n"),
            ["ip firewall filter: Add 1", "ip address: Add 1"]
        );
    }

    #[test]
    fn slashes_between_words_are_read_as_blanks() {
        assert_eq!(
            menus("/ip/firewall/filter/add a=b\n/ip/firewall/nat\nadd c=d"),
            ["ip firewall filter: Add 1", "ip firewall nat: Add 1"]
        );
    }

    #[test]
    fn a_prompt_says_which_menu_it_is() {
        assert_eq!(
            menus("/ip route\n[a@b] /ip firewall filter> add a=b\n[a@b] > ip address add c=d"),
            ["ip firewall filter: Add 1", "ip address: Add 1"]
        );
    }

    #[test]
    fn what_is_no_command_is_not_passed_over() {
        assert_eq!(
            menus(":put 1\n/ip firewall filter chain=input\nFlags: X - disabled\nchain=input\nset"),
            ["unclear", "unclear", "unclear", "unclear", ": Set 0"]
        );
        assert_eq!(
            menus("/ip firewall filter print\nwelcome to this router"),
            ["show", "unclear"]
        );
    }

    #[test]
    fn comments_stay_with_the_command_after_them() {
        let (found, mut tail) = lex::statements("# a\n/ip route\n# b\nadd x=y # c\n# d\n");
        let found = commands(found, &mut tail);
        assert_eq!(found[0].comments, ["a", "b", "c"]);
        assert_eq!(tail, ["d"]);
    }
}
