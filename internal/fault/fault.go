// Package fault names the points at which a process may die, hang or be asked to end: right before and after each effect
// that outlives it. In the program that users run, Point is empty and costs nothing. Built with the tag "faultpoints", for
// the kill tests alone, it does at a chosen point what the environment says:
//
//	VOLSNAP_FAULT_LOG=FILE          append the name of every point that is passed
//	VOLSNAP_FAULT=MODE@N            at the Nth point, counted from 1: kill, term, panic, hang or stop
//	VOLSNAP_FAULT=MODE@NAME         the same at the first point of that name, whatever came before it
//
// The dead-man, though it is the same binary with the same environment, passes no points: it is what the tests rely on.
package fault
