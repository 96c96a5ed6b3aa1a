import Engine

/// Decompression of DEFLATE (RFC 1951), bare as in zip files or in zlib's wrapper (RFC 1950) as in HDF5.
enum Inflate {
    /// Expands a bare stream, which must fill `output` exactly and end with the last byte of `input`.
    static func raw(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) throws(Failure) {
        var inflater = Inflater(input: input, output: output)
        try inflater.run()
        guard inflater.consumed == input.count else {
            throw Failure(.invalidFile, "deflated data: \(input.count) bytes are there, but the stream ends after \(inflater.consumed)")
        }
    }

    /// Expands a zlib stream, which must fill `output` exactly, and verifies its checksum. Bytes behind it are ignored.
    static func zlib(_ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) throws(Failure) {
        var reader = ByteReader(input, of: "zlib stream")
        let method = try reader.u8("the method"), flags = try reader.u8("the flags")
        guard method & 0x0F == 8, method >> 4 <= 7, (Int(method) * 256 + Int(flags)) % 31 == 0 else {
            throw Failure(.invalidFile, "zlib stream: its two header bytes are wrong")
        }
        guard flags & 0x20 == 0 else { throw Failure(.unsupported, "zlib stream: it needs a preset dictionary") }
        var inflater = Inflater(input: UnsafeRawBufferPointer(rebasing: input[2...]), output: output)
        try inflater.run()
        try reader.skip(inflater.consumed, "the data")
        let stored = UInt32(bigEndian: try reader.take(4, "the checksum").loadUnaligned(as: UInt32.self))
        guard Checksum.agree(stored, Checksum.adler32(UnsafeRawBufferPointer(output))) else {
            throw Failure(.invalidFile, "zlib stream: its checksum does not fit its data")
        }
    }
}

/// One stream in decompression.
private struct Inflater {
    private let input: UnsafeRawBufferPointer
    private let output: UnsafeMutableRawBufferPointer
    /// Bytes of the input that were moved into `bits`, zeros beyond its end included.
    private var inputOffset = 0
    private var outputOffset = 0
    /// Bits to be read, lowest first, and how many.
    private var bits: UInt64 = 0
    private var bitCount = 0

    init(input: UnsafeRawBufferPointer, output: UnsafeMutableRawBufferPointer) {
        self.input = input
        self.output = output
    }

    /// Bytes of the input that the stream took.
    var consumed: Int { inputOffset - bitCount / 8 }

    private func failure(_ text: Text) -> Failure { Failure(.invalidFile, "deflated data: \(text)") }

    mutating func run() throws(Failure) {
        var isLast = false
        while !isLast {
            isLast = try take(1) == 1
            switch try take(2) {
            case 0: try stored()
            case 1: try compressed(HuffmanCode.fixedLiterals, HuffmanCode.fixedDistances)
            case 2: try dynamic()
            default: throw failure("a block is of the type that does not exist")
            }
        }
        guard outputOffset == output.count else {
            throw failure("it expands to \(outputOffset) bytes, \(output.count) were announced")
        }
    }

    // MARK: Bits

    /// Makes at least 56 bits available; beyond the input's end they are zeros.
    @inline(__always)
    private mutating func refill() {
        if inputOffset &+ 8 <= input.count {
            let word = UInt64(littleEndian: input.loadUnaligned(fromByteOffset: inputOffset, as: UInt64.self))
            bits |= word << UInt64(truncatingIfNeeded: bitCount)
            let bytes = (63 &- bitCount) >> 3
            inputOffset &+= bytes
            bitCount &+= bytes &* 8
        } else {
            while bitCount <= 55 {
                if inputOffset < input.count { bits |= UInt64(input[inputOffset]) << UInt64(bitCount) }
                inputOffset &+= 1
                bitCount &+= 8
            }
        }
    }

    @inline(__always)
    private mutating func drop(_ count: Int) {
        bits >>= UInt64(truncatingIfNeeded: count)
        bitCount &-= count
    }

    /// Fails where bits beyond the end of the input were used.
    @inline(__always)
    private func checkEnd() throws(Failure) {
        if inputOffset &- bitCount / 8 > input.count { throw failure("it ends too early") }
    }

    /// The next bits, up to 16 of them.
    private mutating func take(_ count: Int) throws(Failure) -> Int {
        refill()
        let value = Int(bits & (1 << UInt64(count) - 1))
        drop(count)
        try checkEnd()
        return value
    }

    // MARK: Blocks

    private mutating func stored() throws(Failure) {
        drop(bitCount % 8)
        let count = try take(16)
        guard try take(16) == count ^ 0xFFFF else { throw failure("the length of a stored block is wrong") }
        // Back to whole bytes of the input.
        let start = consumed
        bits = 0
        bitCount = 0
        guard count <= input.count - start else { throw failure("it ends too early") }
        guard count <= output.count - outputOffset else { throw tooLong }
        UnsafeMutableRawBufferPointer(rebasing: output[outputOffset..<outputOffset + count])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: input[start..<start + count]))
        inputOffset = start + count
        outputOffset += count
    }

    private var tooLong: Failure { failure("it expands to more than the \(output.count) bytes that were announced") }

    /// A block whose codes precede it.
    private mutating func dynamic() throws(Failure) {
        let literalCount = try take(5) + 257, distanceCount = try take(5) + 1, lengthCount = try take(4) + 4
        guard literalCount <= 286, distanceCount <= 30 else { throw failure("a block has too many codes") }
        var lengths = CodeLengths(repeating: 0)
        for index in 0..<lengthCount { lengths[HuffmanCode.lengthOrder[index]] = UInt8(try take(3)) }
        guard let lengthCode = HuffmanCode(lengths, 0..<19) else { throw wrongCode }
        for index in 0..<19 { lengths[index] = 0 }
        let total = literalCount + distanceCount
        var index = 0
        while index < total {
            refill()
            let (symbol, length) = lengthCode.decode(bits)
            guard length > 0 else { throw wrongCode }
            drop(length)
            var repeated: UInt8 = 0
            var times = 1
            switch symbol {
            case 16:
                guard index > 0 else { throw wrongCode }
                repeated = lengths[index - 1]
                times = try take(2) + 3
            case 17: times = try take(3) + 3
            case 18: times = try take(7) + 11
            default: repeated = UInt8(symbol)
            }
            guard times <= total - index else { throw wrongCode }
            for _ in 0..<times {
                lengths[index] = repeated
                index += 1
            }
            try checkEnd()
        }
        guard lengths[256] > 0, let literals = HuffmanCode(lengths, 0..<literalCount),
              let distances = HuffmanCode(lengths, literalCount..<total) else { throw wrongCode }
        try compressed(literals, distances)
    }

    private var wrongCode: Failure { failure("the codes of a block are wrong") }

    /// The symbols of a block.
    private mutating func compressed(_ literals: borrowing HuffmanCode, _ distances: borrowing HuffmanCode) throws(Failure) {
        while true {
            refill()
            let (symbol, length) = literals.decode(bits)
            guard length > 0 else { throw failure("a code that the block does not have") }
            drop(length)
            if symbol < 256 {
                guard outputOffset < output.count else { throw tooLong }
                output[outputOffset] = UInt8(truncatingIfNeeded: symbol)
                outputOffset &+= 1
                if inputOffset > input.count { try checkEnd() }
            } else if symbol == 256 {
                return try checkEnd()
            } else {
                try copy(symbol - 257, distances)
            }
        }
    }

    /// Repeats what came before: `symbol` counts from the first length symbol.
    private mutating func copy(_ symbol: Int, _ distances: borrowing HuffmanCode) throws(Failure) {
        guard symbol < 29 else { throw failure("a length that does not exist") }
        let lengthBits = symbol < 8 || symbol == 28 ? 0 : symbol / 4 - 1
        let lengthBase = symbol < 8 ? symbol + 3 : symbol == 28 ? 258 : (4 + symbol % 4) << lengthBits + 3
        let count = lengthBase + extra(lengthBits)
        refill()
        let (code, length) = distances.decode(bits)
        guard length > 0, code < 30 else { throw failure("a distance that does not exist") }
        drop(length)
        let distanceBits = code < 4 ? 0 : code / 2 - 1
        let distanceBase = code < 4 ? code + 1 : (2 + code % 2) << distanceBits + 1
        let distance = distanceBase + extra(distanceBits)
        try checkEnd()
        guard distance <= outputOffset else { throw failure("a distance goes back before the beginning") }
        guard count <= output.count - outputOffset else { throw tooLong }
        for index in outputOffset..<outputOffset + count { output[index] = output[index &- distance] }
        outputOffset += count
    }

    /// The next bits, which `refill` made available, up to 13 of them.
    @inline(__always)
    private mutating func extra(_ count: Int) -> Int {
        let value = Int(bits & (1 << UInt64(truncatingIfNeeded: count) &- 1))
        drop(count)
        return value
    }
}
