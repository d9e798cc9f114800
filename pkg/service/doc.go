// Package service is what every service of Sluice has around its work: the
// environment, signals, readiness, an HTTP listener for probes and metrics,
// and exit codes.
//
// A service has a [Factory] (by convention FromEnv) that turns an environment
// into a [Runner]; its main is one call of [Main]. Tests and the standalone
// server call the same factories with environments of their own, several in
// one process. Only Main reads the process's environment, listens to signals
// and exits.
//
// Exit codes: 0 after a stop that was asked for, 1 when the service ended for
// any other reason, 2 when the configuration or the command line is wrong.
package service
