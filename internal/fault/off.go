//go:build !faultpoints

package fault

// Point does nothing.
func Point(string) {}
