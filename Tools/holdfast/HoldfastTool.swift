import ArgumentParser

@main struct HoldfastTool: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "holdfast",
        abstract: "Look into a store of outstanding writes, change it, check it and shrink it.",
        version: "0.1.0",
        subcommands: []
    )
}
