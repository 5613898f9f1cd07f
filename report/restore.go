package report

// Restore modes.
const (
	InPlace = "in-place"
	Beside  = "to"
)

// Restore is what a restore did, or with DryRun would do.
type Restore struct {
	Set        string           `json:"set"`
	Mode       string           `json:"mode"`
	DryRun     bool             `json:"dry_run"`
	Undo       string           `json:"undo"` // id of the undo set, empty with Beside
	Members    []RestoredMember `json:"members"`
	Containers []string         `json:"containers"` // that are stopped and started, in the order in which they are started
	ReadyMS    *float64         `json:"ready_ms"`   // until the last database accepted connections; null if none was started
	Kept       []string         `json:"kept"`       // what was replaced and could not be removed, with the reason
}

// RestoredMember is one volume of it.
type RestoredMember struct {
	Volume   string `json:"volume"`
	Driver   string `json:"driver"`
	Dataset  string `json:"dataset"` // in which it lies now
	HostPath string `json:"host_path"`
	Docker   string `json:"docker_volume"` // with Beside: the new Docker volume, if one was made
	Method   string `json:"method"`        // swap, copy or clone
}
