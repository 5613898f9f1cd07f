package report

// Mounting is a set, or a replica of it, as it is mounted at a directory.
type Mounting struct {
	Set     string          `json:"set"`
	From    string          `json:"from"` // the target or the place of the replica; empty for the set of this host
	Dir     string          `json:"dir"`
	Volumes []MountedVolume `json:"volumes"`
}

// MountedVolume is one volume of it.
type MountedVolume struct {
	Volume string `json:"volume"`
	Path   string `json:"path"` // where it is shown
}
