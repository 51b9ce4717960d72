//! What is worth remembering of a run, taken word for word from its task and its answer. Pure, except
//! for the dictionaries that it loads.
//!
//! Sentences of the answer that only repeat what was known before are skipped: a memory that is
//! recalled and repeated would otherwise be written again by every run.

use std::sync::LazyLock;

use memory::{
    chunk::{sentences, width},
    gist::Gist,
};

/// Most characters of a memory that is made of a run.
pub(super) const TEXT_MAX_CHARS: usize = 600;
/// Of these, most that may come from the task.
const TASK_MAX_CHARS: usize = 200;
/// Columns after which a sentence without an end is cut.
const SENTENCE_MAX_WIDTH: usize = 400;
/// How much of a task or an answer is looked at, in bytes.
const LOOKED_AT_MAX_BYTES: usize = 16 * 1024;
/// Words of task and answer together that must be new; of a task alone, that it must have.
const NEWS_MIN: usize = 3;
/// The marks before an item of a list, and before a quotation.
const MARKS: [&str; 4] = ["- ", "* ", "• ", "> "];
/// Most known sentences that an answer is compared with.
const KNOWN_MAX: usize = 1_000;
/// What people and models say without saying anything: a sentence of such words alone is left out.
const COURTESIES: &str = "hello hi hey dear good morning afternoon evening night bye goodbye \
    see later welcome please thank thanks much lot many sure ok okay yes yep right alright great nice \
    glad pleased happy fine perfect wonderful excellent absolutely certainly course understood got noted \
    done remember remembered sorry apologise apologize help helping assist assistance assistant question \
    questions ask feel free let know like need want anything something else today day how doing \
    meet there here im ill id \
    你好 您好 大家 好 早上 上午 中午 下午 晚上 早上好 下午好 晚上好 早安 晚安 再见 拜拜 回头见 谢谢 多谢 感谢 \
    不客气 不用谢 没关系 没事 对不起 抱歉 好的 好吧 可以 行 明白 明白了 知道 知道了 收到 记住 记住了 已 没问题 \
    当然 请 请问 帮助 帮 帮忙 协助 需要 问题 随时 告诉 高兴 很高兴 为您 服务 欢迎 今天 吗 嗨 哈喽 嘿 在吗 在";

static COURTESY: LazyLock<Gist> = LazyLock::new(|| Gist::of(COURTESIES));

/// What the run could know before it answered, sentence by sentence.
pub(super) struct KnownTexts {
    gists: Vec<Gist>,
}

impl KnownTexts {
    /// From the texts of earlier memories.
    pub(super) fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut gists = vec![COURTESY.clone()];
        for text in texts {
            let pieces = plain_sentences(text);
            if pieces.len() > 1 {
                gists.push(Gist::of(text));
            }
            gists.extend(pieces.into_iter().map(|piece| Gist::of(piece.text)));
            if gists.len() >= KNOWN_MAX {
                break;
            }
        }
        Self { gists }
    }

    /// Whether a text says anything that is not known.
    pub(super) fn lacks(&self, text: &str) -> bool {
        Gist::of(text).is_news(&self.gists)
    }
}

/// The memory of a run: sentences of its task and its answer. Where the answer says nothing new
/// ("Noted."), what the task tells; none where that is known, too, or is a question.
pub(super) fn extract(task: &str, answer: &str, known: &KnownTexts) -> Option<String> {
    let says = |one: &Sentence<'_>| !Gist::of(one.text).is_within(&COURTESY);
    let task: Vec<_> = plain_sentences(task).into_iter().filter(says).collect();
    let said = plain_sentences(answer);
    // What answers a greeting is one.
    if task.is_empty() || said.is_empty() {
        return None;
    }
    let is_new = |one: &Sentence<'_>| says(one) && known.lacks(one.text);
    let answer: Vec<_> = said.into_iter().filter(is_new).collect();
    let mut new: Vec<_> = task.iter().copied().filter(|one| known.lacks(one.text)).collect();
    if answer.is_empty() {
        new.retain(|one| !is_question(one.text));
        let told = fitting(&new, TEXT_MAX_CHARS);
        let gist = Gist::of(&told);
        let is_worth_it = gist.news_count(&[]) >= NEWS_MIN && gist.news_count(&known.gists) > 0;
        return is_worth_it.then_some(told);
    }
    let news = [fitting(&new, TASK_MAX_CHARS), fitting(&answer, TEXT_MAX_CHARS)].join("\n");
    if Gist::of(&news).news_count(&known.gists) < NEWS_MIN {
        return None;
    }
    // A task that only says what was known stands there so that the answer can be understood.
    let task = if new.is_empty() { task.into_iter().take(1).collect() } else { new };
    let asked = fitting(&task, TASK_MAX_CHARS);
    let answered = fitting(&answer, TEXT_MAX_CHARS - asked.chars().count() - 1);
    Some(format!("{asked}\n{answered}").trim().to_owned())
}

fn is_question(text: &str) -> bool {
    let end = text.trim_end_matches(['”', '’', '"', '\'', ' ']);
    end.ends_with(['?', '？']) || end.trim_end_matches(['。', '.']).ends_with(['吗', '呢'])
}

/// A sentence, and the line that it stands in.
#[derive(Debug, Clone, Copy)]
struct Sentence<'a> {
    text: &'a str,
    line: usize,
}

/// Sentences in their order and lines, as far as `most` characters reach; a first one that is longer
/// is cut.
fn fitting(sentences: &[Sentence<'_>], most: usize) -> String {
    let mut text = String::new();
    let (mut left, mut line) = (most, None);
    for sentence in sentences {
        let chars = sentence.text.chars().count() + 1;
        if chars <= left {
            if line.is_some_and(|line| line != sentence.line) {
                text.push('\n');
            } else if needs_blank(&text) {
                text.push(' ');
            }
            text.push_str(sentence.text);
            (left, line) = (left - chars, Some(sentence.line));
        } else if text.is_empty() {
            let beginning = sentence.text.chars().take(most.saturating_sub(1));
            return beginning.chain(['…']).collect();
        }
    }
    text
}

/// Chinese sentences follow each other without a blank.
fn needs_blank(text: &str) -> bool {
    let end = text.trim_end_matches(['”', '’']);
    end.chars().next_back().is_some_and(|end| width(end.encode_utf8(&mut [0; 4])) == 1)
}

/// The sentences of a text, without code, tables and headings, marks of lists, and asides in
/// brackets.
fn plain_sentences(text: &str) -> Vec<Sentence<'_>> {
    let text = text.get(..text.floor_char_boundary(LOOKED_AT_MAX_BYTES)).unwrap_or(text);
    let mut is_code = false;
    let mut plain = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !line.starts_with(['#', '|']) {
            let line = MARKS.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line);
            let pieces = sentences(line, SENTENCE_MAX_WIDTH).into_iter();
            let pieces = pieces.filter_map(|at| line.get(at)).map(str::trim).filter(|s| says(s));
            plain.extend(pieces.map(|text| Sentence { text, line: number }));
        }
    }
    plain
}

fn says(sentence: &str) -> bool {
    let is_aside =
        sentence.starts_with(['(', '（', '[', '【']) && sentence.ends_with([')', '）', ']', '】']);
    !is_aside && sentence.chars().any(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(task: &str, answer: &str, known: &[&str], expected: Expect) {
        let known = KnownTexts::of(known.iter().copied());
        expected.assert_eq(&extract(task, answer, &known).unwrap_or_else(|| "nothing".into()));
    }

    #[test]
    fn task_and_answer_are_kept_in_their_own_words() {
        check(
            "When does the museum open?",
            "The museum opens at nine. (I looked at its page.)\n\n```\ncurl museum\n```",
            &[],
            expect![[r#"
                When does the museum open?
                The museum opens at nine."#]],
        );
        check(
            "帮我查一下博物馆几点开门",
            "博物馆上午九点开门。周一闭馆。（我是演示模型。）",
            &[],
            expect![[r#"
                帮我查一下博物馆几点开门
                博物馆上午九点开门。周一闭馆。"#]],
        );
        check(
            "德国的首都是哪里？",
            "柏林。",
            &[],
            expect![[r#"
                德国的首都是哪里？
                柏林。"#]],
        );
        check(
            "List them.",
            "## Findings\n- The door is *red*.\n* The window is blue.\n| a | b |",
            &[],
            expect![[r#"
                List them.
                The door is *red*.
                The window is blue."#]],
        );
    }

    #[test]
    fn lines_stay_lines_and_blanks_stand_where_they_should() {
        check(
            "Greet me.",
            "Say “ahoy” or “moin moin”.\nSo I can:\n- greet “you”\n- greet “them”",
            &[],
            expect![[r#"
                Greet me.
                Say “ahoy” or “moin moin”.
                greet “you”
                greet “them”"#]],
        );
        check(
            "怎么打招呼？",
            "可以说“你好。”也可以说“早上好！”晚上说晚安。 Or say “good evening.” Both are polite.",
            &[],
            expect![[r#"
                怎么打招呼？
                可以说“你好。”也可以说“早上好！”晚上说晚安。Or say “good evening.” Both are polite."#]],
        );
    }

    #[test]
    fn what_was_known_is_not_kept_again() {
        let tea = "Li likes green tea.";
        check("What does Li drink?", "Li likes green tea.", &[tea], expect!["nothing"]);
        check(
            "What does Li drink?",
            "I found this in memory: “Li likes green tea.”\n\n(I am the demo model.)",
            &[tea],
            expect!["nothing"],
        );
        check(
            "What does Li drink?",
            "Li likes green tea. In the evening it is often a glass of milk.",
            &[tea],
            expect![[r#"
                What does Li drink?
                In the evening it is often a glass of milk."#]],
        );
        let whole = "What does Li drink?\nIn the evening it is often a glass of milk.";
        check(
            "What does Li drink?",
            "In the evening it is often a glass of milk. Li likes green tea.",
            &[tea, whole],
            expect!["nothing"],
        );
        check(
            "记住我喜欢绿茶",
            "好的，我记住了：“我喜欢绿茶”。",
            &["我喜欢绿茶"],
            expect!["nothing"],
        );
    }

    #[test]
    fn what_says_nothing_is_not_kept() {
        check("", "", &[], expect!["nothing"]);
        check("x", "(nothing)", &[], expect!["nothing"]);
        check("hi", "Hi!", &[], expect!["nothing"]);
        check("Good morning!", "Hello! How can I help you today?", &[], expect!["nothing"]);
        check(
            "hello there",
            "Hello! I am an assistant that knows trains.",
            &[],
            expect!["nothing"],
        );
        check("你好", "你好！很高兴为您服务。请问需要什么帮助？", &[], expect!["nothing"]);
        check("谢谢你", "不客气！", &[], expect!["nothing"]);
        check(
            "Thanks a lot!",
            "You're welcome. Let me know if you need anything else.",
            &[],
            expect!["nothing"],
        );
        let office = "the office is in Hangzhou";
        let asked = "Please remember: the office is in Hangzhou.";
        for answer in [
            "Noted. I will remember: “the office is in Hangzhou”.",
            "Sure! Done.",
            "Got it, the office is in Hangzhou. Let me know if there is anything else!",
            "OK, I've noted that your office is in Hangzhou.",
        ] {
            check(asked, answer, &[office], expect!["nothing"]);
        }
        check(
            "请记住：办公室在杭州。",
            "好的，我记住了：“办公室在杭州”。",
            &["办公室在杭州"],
            expect!["nothing"],
        );
        check(
            "Hello! When does the museum open?",
            "Hi! The museum opens at nine. Let me know if you need anything else.",
            &[],
            expect![[r#"
                When does the museum open?
                The museum opens at nine."#]],
        );
        check("…", "```\ncode\n```", &[], expect!["nothing"]);
    }

    #[test]
    fn what_a_task_tells_is_kept_whatever_the_answer_is() {
        check(
            "My customer number is 4711 and my car is a red Volvo. Is that all right?",
            "Noted.",
            &[],
            expect!["My customer number is 4711 and my car is a red Volvo."],
        );
        check(
            "The code of room 13 is 9921.",
            "OK, I have written that down for you.",
            &["The code of room 12 is 4711.\nOK, I have written that down for you."],
            expect!["The code of room 13 is 9921."],
        );
        check("车位号是十五，在地下二层。", "好的。", &[], expect!["车位号是十五，在地下二层。"]);
        check("我的车停在哪里呢？", "好的。", &[], expect!["nothing"]);
        check("Where did I leave the red Volvo?", "Noted.", &[], expect!["nothing"]);
    }

    #[test]
    fn a_memory_is_bounded() {
        let task = "Please compare every museum of the town. ".repeat(20);
        let answer = "No museum opens before nine in the morning. ".repeat(60);
        let text = extract(&task, &answer, &KnownTexts::of([])).unwrap();
        assert!((400..=TEXT_MAX_CHARS).contains(&text.chars().count()), "{text}");
        let text = extract(&"长".repeat(5_000), &"句子和词".repeat(5_000), &KnownTexts::of([]));
        assert!(text.unwrap().chars().count() <= TEXT_MAX_CHARS);
    }
}
