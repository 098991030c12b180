//! The filter and path grammar against a second reader of it: `differential` compares, `rows` says where and why the two differ, `generate` makes the texts.

mod differential;
mod generate;
mod rows;
