"""Go-lives that platforms tell of by themselves: Twitch, Kick and YouTube, where the settings say so."""
