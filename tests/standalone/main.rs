//! The whole walk, as a user has it: the real program, real files, real HTTP.

mod commands;
mod program;
mod receiver;
mod reload;
mod restart;
mod tenancy;
mod walk;
