/// Why a call could not be honoured: a code that the C ABI hands on as its status, and a sentence that
/// names the argument, layer or key, what was expected and what came.
public struct Failure: Error {
    public enum Code: Int32, Sendable {
        case invalidArgument = 1
        case invalidFile = 2
        case unsupported = 3
        case notFound = 4
        case system = 5
        case outOfMemory = 6
        case cannotStream = 7
        case mismatch = 8
    }

    public let code: Code
    public let message: Text

    public init(_ code: Code, _ message: Text) {
        self.code = code
        self.message = message
    }
}
