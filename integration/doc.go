// Package integration tests Sluice as its users see it: black-box tests against
// whole services, started by package harness in the test's process or as
// processes of their own.
package integration
