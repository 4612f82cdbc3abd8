package critest

var processTests, mountTests, securityTests, streamingTests map[string]func(*suite)
