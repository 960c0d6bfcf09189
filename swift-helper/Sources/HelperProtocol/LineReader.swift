import Foundation

/// Cuts a stream into lines of limited length.
public struct LineReader {
    /// What `next` gives.
    public enum Event: Equatable {
        /// Without its newline.
        case line(Data)
        /// There is more than a line may have; nothing follows.
        case tooLong
        /// All that came has been given.
        case more
    }

    private var buffer = Data()

    public init() {}

    /// Adds bytes as they come.
    public mutating func append(_ data: Data) {
        buffer.append(data)
    }

    /// The next line of what has been added.
    public mutating func next() -> Event {
        guard let end = buffer.firstIndex(of: newline) else {
            return buffer.count < maxLineBytes ? .more : .tooLong
        }
        if buffer.distance(from: buffer.startIndex, to: end) >= maxLineBytes { return .tooLong }
        let line = Data(buffer[buffer.startIndex..<end])
        buffer = Data(buffer[buffer.index(after: end)...])
        return .line(line)
    }
}
