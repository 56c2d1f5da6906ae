//! Compares architectures: suites, case runner, results and tables
