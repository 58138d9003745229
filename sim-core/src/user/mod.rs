//! stub
use crate::base::words::{SyntaxError, Word};
use crate::engine::Program;
/// stub
pub fn parse(words: &[Word]) -> Result<Box<dyn Program>, SyntaxError> { Err(SyntaxError::at(&words[0], "not yet")) }
