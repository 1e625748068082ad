// Package scripts runs the real binary as a person types it, on the real Engine
// and in a lab: every command, every stage of up and every fault that needs
// containers. Its tests are the scripts in testdata/script, whose names say what
// holds.
package scripts
